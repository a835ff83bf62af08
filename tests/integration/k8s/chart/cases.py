"""Every value of the chart, with a field that it changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.helm import IMAGE, SCHEMA

DAEMONSET = "DaemonSet/neuron-exporter"
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"
HASH = "$2y$10$JATJmKpPiCuJj6sXdIocduryQyh1t0vjXhxMG0fq.Y8khTatHmRs."
DIGEST = "sha256:" + 64 * "0"
SECRET_KEYS = {
    "username": {"name": "scraper", "key": "username"},
    "password": {"name": "scraper", "key": "password"},
}


class Case(NamedTuple):
    """Values, and a field of an object that has `expected` with them only."""

    values: dict[str, Any]
    expected: Any
    path: str = ""
    of: str = DAEMONSET


def _pod(value: dict[str, Any], expected: Any, path: str = "") -> Case:
    return Case(value, expected, f"{POD}.{path or next(iter(value))}")


def _monitor(value: dict[str, Any], expected: Any, path: str, kind: str = "PodMonitor") -> Case:
    value = {"kind": kind, **value}
    endpoint = "spec.podMetricsEndpoints.0." if kind == "PodMonitor" else "spec.endpoints.0."
    path = path if path.startswith("metadata") else endpoint + path
    return Case({"monitor": value}, expected, path, f"{kind}/neuron-exporter")


TLS = {"tlsSecret": "tls"}
_TOLERATIONS = [{"key": "team", "operator": "Exists"}]
_VARIABLE = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
_VOLUME = {"name": "ca", "configMap": {"name": "ca"}}
_MOUNT = {"name": "ca", "mountPath": "/etc/ca"}
_RELABELING = {"action": "replace", "targetLabel": "team", "replacement": "ml"}
_PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}
_EGRESS = {"ports": [{"protocol": "TCP", "port": 6443}]}

CASES = [
    Case({"image": {"repository": "example.com/a"}}, "example.com/a:0.1.0", f"{CONTAINER}.image"),
    Case({"image": IMAGE | {"tag": "x"}}, IMAGE["repository"] + ":x", f"{CONTAINER}.image"),
    Case(
        {"image": IMAGE | {"tag": "x", "digest": DIGEST}},
        f"{IMAGE['repository']}@{DIGEST}",
        f"{CONTAINER}.image",
    ),
    Case({"image": IMAGE | {"pullPolicy": "Always"}}, "Always", f"{CONTAINER}.imagePullPolicy"),
    _pod({"imagePullSecrets": [{"name": "registry"}]}, [{"name": "registry"}]),
    Case(
        {"config": {"log": {"format": "console"}}},
        "log:\n  format: console\nprometheus:\n  preset: standard\n",
        "data.exporter~yaml",
        "ConfigMap/neuron-exporter",
    ),
    Case(
        {"config": {"prometheus": {"listen": ["127.0.0.1:8000", "[::1]:8000"]}}},
        8000,
        f"{CONTAINER}.ports.0.containerPort",
    ),
    Case(
        {"config": {"prometheus": {"listen": ":8000"}}},
        8000,
        "spec.ports.0.port",
        "Service/neuron-exporter",
    ),
    Case(
        {"config": {"cloudwatch": {"enabled": True}}},
        {"path": "/var/lib/neuron-exporter", "type": "DirectoryOrCreate"},
        f"{POD}.volumes.2.hostPath",
    ),
    Case(
        {"config": {"otlp": {"enabled": True, "endpoint": "http://collector:4318"}}},
        {"path": "/var/lib/neuron-exporter", "type": "DirectoryOrCreate"},
        f"{POD}.volumes.2.hostPath",
    ),
    Case(
        {"restartOnConfigChange": True}, True, "spec.template.metadata.annotations.checksum/config"
    ),
    Case({"simulator": {"enabled": True}}, 1, "spec.replicas", "Deployment/neuron-exporter"),
    Case({"tools": "host"}, {"path": "/opt/aws", "type": "Directory"}, f"{POD}.volumes.5.hostPath"),
    Case(
        {"tools": "initImage", "toolsImage": "example.com/tools:1"},
        "example.com/tools:1",
        f"{POD}.initContainers.0.image",
    ),
    Case({"serviceAccount": {"create": False}}, None, of="ServiceAccount/neuron-exporter"),
    _pod({"serviceAccount": {"name": "metrics"}}, "metrics", "serviceAccountName"),
    Case(
        {"serviceAccount": {"annotations": {"a": "b"}}},
        {"a": "b"},
        "metadata.annotations",
        "ServiceAccount/neuron-exporter",
    ),
    Case(
        {"serviceAccount": {"roleArn": "arn:aws:iam::111122223333:role/metrics"}},
        "arn:aws:iam::111122223333:role/metrics",
        "metadata.annotations.eks~amazonaws~com/role-arn",
        "ServiceAccount/neuron-exporter",
    ),
    _pod({"config": {"identity": {"pod_labels": ["team"]}}}, True, "automountServiceAccountToken"),
    Case(
        {"config": {"identity": {"pod_labels": ["team"]}}},
        [
            {
                "kind": "ServiceAccount",
                "name": "neuron-exporter",
                "namespace": "neuron-exporter",
            }
        ],
        "subjects",
        "ClusterRoleBinding/neuron-exporter-pod-labels",
    ),
    Case({"service": {"enabled": False}}, None, of="Service/neuron-exporter"),
    Case({"service": {"labels": {"a": "b"}}}, "b", "metadata.labels.a", "Service/neuron-exporter"),
    Case(
        {"service": {"annotations": {"a": "b"}}},
        {"a": "b"},
        "metadata.annotations",
        "Service/neuron-exporter",
    ),
    _monitor({}, "metrics", "port"),
    _monitor({}, "metrics", "port", "ServiceMonitor"),
    _monitor({"labels": {"release": "stack"}}, "stack", "metadata.labels.release"),
    _monitor({"interval": "1m"}, "1m", "interval"),
    _monitor({"scrapeTimeout": "5s"}, "5s", "scrapeTimeout"),
    _monitor({"relabelings": [_RELABELING]}, _RELABELING, "relabelings.2"),
    _monitor({"metricRelabelings": [_RELABELING]}, [_RELABELING], "metricRelabelings"),
    _monitor({"basicAuth": SECRET_KEYS}, SECRET_KEYS, "basicAuth"),
    Case(
        {"webConfig": TLS, "monitor": {"kind": "PodMonitor", "tlsConfig": {"serverName": "a"}}},
        {"serverName": "a"},
        "spec.podMetricsEndpoints.0.tlsConfig",
        "PodMonitor/neuron-exporter",
    ),
    Case(
        {"prometheusRule": {"enabled": True, "labels": {"release": "stack"}}},
        "stack",
        "metadata.labels.release",
        "PrometheusRule/neuron-exporter",
    ),
    Case(
        {"dashboards": {"enabled": True}},
        "1",
        "metadata.labels.grafana_dashboard",
        "ConfigMap/neuron-dashboard-fleet",
    ),
    Case(
        {"dashboards": {"enabled": True, "labels": {"a": "b"}}},
        "b",
        "metadata.labels.a",
        "ConfigMap/neuron-dashboard-machine",
    ),
    Case(
        {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "AWS"}}},
        "AWS",
        "metadata.annotations.grafana_folder",
        "ConfigMap/neuron-dashboard-exporter",
    ),
    Case(
        {"networkPolicy": {"enabled": True, "ingressFrom": [_PEER]}},
        _PEER,
        "spec.ingress.0.from.0",
        "NetworkPolicy/neuron-exporter",
    ),
    Case(
        {"networkPolicy": {"enabled": True, "extraEgress": [_EGRESS]}},
        _EGRESS,
        "spec.egress.3",
        "NetworkPolicy/neuron-exporter",
    ),
    Case({"webConfig": TLS}, "HTTPS", f"{CONTAINER}.livenessProbe.httpGet.scheme"),
    Case({"webConfig": TLS}, "HTTPS", f"{CONTAINER}.readinessProbe.httpGet.scheme"),
    Case(
        {"webConfig": TLS | {"clientCertificates": True}},
        ["neuron-exporter", "healthcheck"],
        f"{CONTAINER}.readinessProbe.exec.command",
    ),
    Case(
        {"webConfig": {"users": {"prometheus": HASH}}},
        ["neuron-exporter", "healthcheck"],
        f"{CONTAINER}.livenessProbe.exec.command",
    ),
    Case(
        {"webConfig": {"existingSecret": "web", "existingSecretHasTls": True}},
        {"defaultMode": 256, "sources": [{"secret": {"name": "web"}}]},
        f"{POD}.volumes.5.projected",
    ),
    Case(
        {"spool": {"onHost": True, "path": "/mnt/spool"}},
        "/mnt/spool",
        f"{POD}.volumes.2.hostPath.path",
    ),
    Case(
        {"kubeletPath": "/var/snap/kubelet"},
        "/var/snap/kubelet/pod-resources",
        f"{POD}.volumes.3.hostPath.path",
    ),
    _pod({"hostPID": False}, None),
    Case(
        {"resources": {"limits": {"cpu": "2"}}}, {"limits": {"cpu": "2"}}, f"{CONTAINER}.resources"
    ),
    _pod({"priorityClassName": ""}, None),
    Case({"updateStrategy": {"type": "OnDelete"}}, {"type": "OnDelete"}, "spec.updateStrategy"),
    _pod({"affinity": {}}, None, "affinity.nodeAffinity"),
    _pod({"nodeSelector": {"pool": "neuron"}}, {"pool": "neuron"}),
    _pod({"tolerations": _TOLERATIONS}, _TOLERATIONS),
    Case({"labels": {"team": "ml"}}, "ml", "metadata.labels.team", "ConfigMap/neuron-exporter"),
    Case({"annotations": {"team": "ml"}}, {"team": "ml"}, "metadata.annotations"),
    Case({"podLabels": {"team": "ml"}}, "ml", "spec.template.metadata.labels.team"),
    Case({"podAnnotations": {"team": "ml"}}, "ml", "spec.template.metadata.annotations.team"),
    Case({"extraArgs": ["--listen", ":1"]}, ":1", f"{CONTAINER}.args.4"),
    Case({"extraEnv": [_VARIABLE]}, _VARIABLE, f"{CONTAINER}.env.4"),
    Case(
        {"extraEnvFrom": [{"secretRef": {"name": "a"}}]},
        [{"secretRef": {"name": "a"}}],
        f"{CONTAINER}.envFrom",
    ),
    Case({"extraVolumes": [_VOLUME], "extraVolumeMounts": [_MOUNT]}, _VOLUME, f"{POD}.volumes.5"),
    Case(
        {"extraVolumes": [_VOLUME], "extraVolumeMounts": [_MOUNT]},
        _MOUNT,
        f"{CONTAINER}.volumeMounts.5",
    ),
]


def leaves(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Yield the dotted names of values; the exporter's configuration is one of them."""
    for name, value in values.items():
        inner = schema["properties"][name]
        if inner.get("type") == "object" and "properties" in inner:
            yield from (f"{name}.{each}" for each in leaves(value, inner))
        else:
            yield name


def names(case: Case) -> str:
    """Return the dotted names of a case's values."""
    return ",".join(leaves(case.values, SCHEMA))
