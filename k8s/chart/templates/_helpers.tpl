{{/*
Names do not depend on the release: they are those of k8s/base, so that a release takes over from
kustomize, and a second one in the namespace is refused.
*/}}

{{- define "neuron-exporter.component" -}}
{{- ternary "simulator" "exporter" .Values.simulator.enabled -}}
{{- end }}

{{/* Labels of the pods: no version, so that an upgrade of the chart alone restarts nothing. */}}
{{- define "neuron-exporter.podLabels" -}}
app.kubernetes.io/name: neuron-exporter
app.kubernetes.io/component: {{ include "neuron-exporter.component" . }}
app.kubernetes.io/part-of: neuron-exporter
{{- end }}

{{- define "neuron-exporter.labels" -}}
{{- $own := include "neuron-exporter.podLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/instance" .Release.Name -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $own .Values.labels) -}}
{{- end }}

{{/* Objects of a file, for the release: (list $ FILE). */}}
{{- define "neuron-exporter.objects" -}}
{{- $root := index . 0 -}}
{{- $objects := list -}}
{{- range splitList "\n---\n" ($root.Files.Get (index . 1)) -}}
{{- $object := fromYaml . -}}
{{- $labels := include "neuron-exporter.labels" $root | fromYaml -}}
{{- $_ := set $object.metadata "labels" $labels -}}
{{- if not (hasPrefix "Cluster" $object.kind) -}}
{{- $_ := set $object.metadata "namespace" $root.Release.Namespace -}}
{{- end -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- toYaml $objects -}}
{{- end }}

{{- define "neuron-exporter.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository: no image is published; build one, push it to your registry, and set its name (k8s/README.md)" $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The exporter's configuration. */}}
{{- define "neuron-exporter.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.simulator.enabled -}}
{{- $config = mergeOverwrite (.Files.Get "files/simulator/exporter.yaml" | fromYaml) $config -}}
{{- end -}}
{{- if include "neuron-exporter.web" . -}}
{{- $file := dict "web_config_file" "/etc/neuron-exporter-web/web.yaml" -}}
{{- $_ := set $config "prometheus" (merge $file ($config.prometheus | default dict)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* A section of the configuration, which may be empty: (list $ NAME). */}}
{{- define "neuron-exporter.section" -}}
{{- get (index . 0).Values.config (index . 1) | default dict | toYaml -}}
{{- end }}

{{- define "neuron-exporter.port" -}}
{{- $listen := (include "neuron-exporter.section" (list . "prometheus") | fromYaml).listen | default ":9415" -}}
{{- if kindIs "slice" $listen }}{{ $listen = first $listen }}{{ end -}}
{{- regexFind "[0-9]+$" $listen -}}
{{- end }}

{{- define "neuron-exporter.publishesToCloudWatch" -}}
{{- $cloudwatch := include "neuron-exporter.section" (list . "cloudwatch") | fromYaml -}}
{{- if and $cloudwatch.enabled (ne ($cloudwatch.transport | default "api") "emf") }}true{{ end -}}
{{- end }}

{{/* Not empty if requests that were not delivered wait in a spool. */}}
{{- define "neuron-exporter.hasSpool" -}}
{{- $otlp := include "neuron-exporter.section" (list . "otlp") | fromYaml -}}
{{- if or $otlp.enabled (include "neuron-exporter.publishesToCloudWatch" .) }}true{{ end -}}
{{- end }}

{{/* Not empty if the exporter signs requests to AWS. */}}
{{- define "neuron-exporter.needsRole" -}}
{{- $otlp := include "neuron-exporter.section" (list . "otlp") | fromYaml -}}
{{- $signs := and $otlp.enabled (eq ($otlp.auth | default "none") "sigv4") -}}
{{- if or $signs (include "neuron-exporter.publishesToCloudWatch" .) }}true{{ end -}}
{{- end }}

{{- define "neuron-exporter.servesNoMetrics" -}}
{{- $prometheus := include "neuron-exporter.section" (list . "prometheus") | fromYaml -}}
{{- if and (hasKey $prometheus "enabled") (not $prometheus.enabled) }}true{{ end -}}
{{- end }}

{{/* Not empty if there is a web configuration, TLS, or clients that must identify themselves. */}}
{{- define "neuron-exporter.web" -}}
{{- with .Values.webConfig -}}
{{- if and .existingSecret (or .tlsSecret .users) -}}
{{- fail "webConfig.existingSecret: has a web configuration of its own; remove webConfig.tlsSecret and webConfig.users" -}}
{{- end -}}
{{- if and .clientCertificates (not .tlsSecret) -}}
{{- fail "webConfig.clientCertificates: needs webConfig.tlsSecret" -}}
{{- end -}}
{{- if or .existingSecret .tlsSecret .users }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "neuron-exporter.tls" -}}
{{- with .Values.webConfig -}}
{{- if or .tlsSecret (and .existingSecret .existingSecretHasTls) }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "neuron-exporter.clientsIdentifyThemselves" -}}
{{- with .Values.webConfig -}}
{{- if or .existingSecret .users .clientCertificates }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "neuron-exporter.url" -}}
{{ ternary "https" "http" (not (empty (include "neuron-exporter.tls" .))) }}://neuron-exporter.{{ .Release.Namespace }}.svc:{{ include "neuron-exporter.port" . }}
{{- end }}

{{/* The labels of pods that the exporter reads from the API server. */}}
{{- define "neuron-exporter.podLabelKeys" -}}
{{- if not .Values.simulator.enabled -}}
{{- (include "neuron-exporter.section" (list . "identity") | fromYaml).pod_labels | default list | join "," -}}
{{- end -}}
{{- end }}
