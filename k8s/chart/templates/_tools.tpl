{{/* The init container that copies AWS's tools from an image that the user names. */}}
{{- define "neuron-exporter.copyTools" -}}
name: tools
image: {{ required "toolsImage: names the image with AWS's tools, because of `tools: initImage`" .Values.toolsImage | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command:
  - sh
  - -euc
  - |
    mkdir -p /tools/neuron/bin
    cp -L /opt/aws/neuron/bin/neuron-monitor /tools/neuron/bin/
    for optional in bin/neuron-ls lib; do
      [ ! -e "/opt/aws/neuron/$optional" ] || cp -RL "/opt/aws/neuron/$optional" "/tools/neuron/$optional"
    done
resources:
  requests: {cpu: 10m, memory: 32Mi}
  limits: {cpu: 500m, memory: 128Mi}
securityContext:
  runAsUser: 65532
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tools, mountPath: /tools}
{{- end }}
