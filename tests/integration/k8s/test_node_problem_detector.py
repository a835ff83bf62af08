"""The plugin for node-problem-detector has its documented form, and fits its DaemonSet and ours.

The form is that of pkg/custompluginmonitor/types/config.go in kubernetes/node-problem-detector
(6632ca6), which rejects a file with a wrong value when it starts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import kubernetes
from tests.support.kubernetes import EXPORTERS, K8S, Object, only, rendered
from tests.support.kubernetes_schemas import VERSIONS, all_problems

pytestmark = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())

EXAMPLE = "examples/node-problem-detector"

KEYS = {
    "": {"plugin", "pluginConfig", "source", "metricsReporting", "conditions", "rules"},
    "pluginConfig": {
        *("invoke_interval", "timeout", "max_output_length", "concurrency"),
        *("enable_message_change_based_condition_update", "skip_initial_status"),
    },
    "conditions": {"type", "reason", "message"},
    "rules": {"type", "condition", "reason", "path", "args", "timeout", "invoke_interval"},
}
"""Fields by the object that has them."""

DETECTOR = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "node-problem-detector", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": "node-problem-detector"}},
        "template": {
            "metadata": {"labels": {"app": "node-problem-detector"}},
            "spec": {
                "containers": [
                    {
                        "name": "node-problem-detector",
                        "image": "registry.k8s.io/node-problem-detector/node-problem-detector",
                        "command": ["/node-problem-detector", "--logtostderr"],
                        "volumeMounts": [{"name": "log", "mountPath": "/var/log"}],
                    }
                ],
                "volumes": [{"name": "log", "hostPath": {"path": "/var/log"}}],
            },
        },
    },
}
"""What the project's own manifest and that of AWS have in common."""


def monitor() -> dict[str, Any]:
    """Return the configuration of the plugin."""
    data = only(rendered(EXAMPLE), "ConfigMap")["data"]
    found: dict[str, Any] = json.loads(data["neuron-devices.json"])
    return found


def patched(folder: Path) -> Object:
    """Return the DaemonSet of node-problem-detector with the plugin."""
    (folder / "daemonset.yaml").write_text(yaml.safe_dump(DETECTOR))
    patch = (K8S / EXAMPLE / "daemonset-patch.yaml").read_text()
    target = {"kind": "DaemonSet", "name": "node-problem-detector"}
    document = {"resources": ["daemonset.yaml"], "patches": [{"patch": patch, "target": target}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    found: Object = yaml.safe_load(kubernetes.kustomize(folder))
    return found


def seconds(text: str) -> int:
    """Return a duration, all of which have whole seconds here."""
    assert text.endswith("s")
    return int(text[:-1])


def test_form_of_the_configuration() -> None:
    document = monitor()
    assert document["plugin"] == "custom"
    (rule,), (condition,) = document["rules"], document["conditions"]
    for name, value in {
        "": document,
        "pluginConfig": document["pluginConfig"],
        "conditions": condition,
        "rules": rule,
    }.items():
        assert value.keys() <= KEYS[name]
    assert rule["type"] == "permanent"
    assert rule["condition"] == condition["type"]
    settings = document["pluginConfig"]
    assert 0 < seconds(settings["timeout"]) < seconds(settings["invoke_interval"])


def test_daemon_set_finds_the_plugin(tmp_path: Path) -> None:
    """The flag and the rule name files of the ConfigMap at the place where it is mounted, and the
    script can be executed."""
    found = patched(tmp_path)
    for version in VERSIONS:
        assert all_problems([found], version) == {}
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "neuron-devices")
    (volume,) = (each for each in pod["volumes"] if each["name"] == "neuron-devices")
    config_map = only(rendered(EXAMPLE), "ConfigMap")
    assert volume["configMap"] == {"name": config_map["metadata"]["name"], "defaultMode": 0o555}
    assert config_map["metadata"]["namespace"] == found["metadata"]["namespace"]
    (rule,) = monitor()["rules"]
    flag = container["command"][-1]
    assert flag.startswith("--config.custom-plugin-monitor=")
    for path in (flag.partition("=")[2], rule["path"]):
        folder, _, name = path.rpartition("/")
        assert folder == mount["mountPath"]
        assert name in config_map["data"]
    assert {each["name"] for each in pod["volumes"]} == {"log", "neuron-devices"}


@pytest.mark.parametrize("overlay", ["overlays/eks", "overlays/prometheus-only"])
def test_service_leads_to_the_exporter_of_the_node(overlay: str) -> None:
    service = only(rendered(EXAMPLE), "Service")
    daemon_set = only(rendered(overlay), "DaemonSet")
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    assert service["metadata"]["namespace"] == daemon_set["metadata"]["namespace"]
    (port,) = service["spec"]["ports"]
    (named,) = kubernetes.container(rendered(overlay))["ports"]
    assert port["targetPort"] == named["name"]
    (rule,) = monitor()["rules"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert rule["args"] == [f"{name}.{namespace}.svc", str(port["port"])]


def test_overlays_with_a_page_serve_the_plugin() -> None:
    """The plugin reads the page's data, which no overlay turns off."""
    for overlay in EXPORTERS:
        config = yaml.safe_load(kubernetes.configuration(rendered(overlay))) or {}
        assert config.get("web", {}).get("page", True) is True
