"""The chart installs the pod of k8s/base, and takes over from kustomize and from older charts."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Golden
from tests.support import kubernetes
from tests.support.helm import CHART, NAMESPACE, rendered
from tests.support.kubernetes import EXPORTERS, K8S, Object, with_components

pytestmark = [
    pytest.mark.usefixtures("needs_helm"),
    pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing()),
]

ROLE = "arn:aws:iam::111122223333:role/neuron-exporter"

TWINS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "prometheus": ("overlays/prometheus-only", [], {}),
    "eks": ("overlays/eks", [], {}),
    "cloudwatch only": ("overlays/eks-cloudwatch-only", [], {}),
    "simulator": ("overlays/simulator", [], {"simulator": {"enabled": True}}),
    "lnc": ("overlays/eks", ["lnc"], {"tools": "host"}),
    "without host pid": ("overlays/eks", ["without-host-pid"], {"hostPID": False}),
    "without spool": ("overlays/eks", ["without-spool"], {"spool": {"onHost": False}}),
    "irsa": ("overlays/eks", ["irsa"], {"serviceAccount": {"roleArn": ROLE}}),
    "rules": ("overlays/eks", ["prometheus-rules"], {"prometheusRule": {"enabled": True}}),
    "dashboards": ("overlays/eks", ["grafana-dashboards"], {"dashboards": {"enabled": True}}),
    "monitor": ("overlays/eks", ["pod-monitor"], {"monitor": {"kind": "PodMonitor"}}),
    "policy": ("overlays/eks", ["network-policy"], {"networkPolicy": {"enabled": True}}),
}
"""Overlay, components, and the chart's values that install the same."""


def configuration_of(overlay: str) -> dict[str, Any]:
    """Return the overlay's configuration."""
    found = yaml.safe_load(kubernetes.configuration(kubernetes.rendered(overlay)))
    return dict(found)


def named(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Return objects by kind and name, without the namespace and its labels and annotations."""
    found = {}
    for each in deepcopy(objects):
        if each["kind"] == "Namespace":
            continue
        each["metadata"] = {
            key: value
            for key, value in each["metadata"].items()
            if key not in ("labels", "namespace", "creationTimestamp")
        }
        if each["kind"] in ("DaemonSet", "Deployment"):
            kubernetes.pod([each])["volumes"].sort(key=lambda volume: str(volume["name"]))
        if each["kind"] == "ConfigMap" and "exporter.yaml" in each["data"]:
            each["data"] = yaml.safe_load(each["data"]["exporter.yaml"])
        found[each["kind"], each["metadata"]["name"]] = each
    return found


def _anti_affinity(objects: list[Object]) -> Any:
    """Remove the rule that only the chart has, and return it."""
    affinity = kubernetes.pod(objects).get("affinity", {})
    return affinity.pop("podAntiAffinity", None)


@pytest.mark.parametrize("name", TWINS)
def test_same_objects_as_kustomize(name: str, tmp_path: Path) -> None:
    """With the values of an overlay, the chart installs its objects, equal in every field but
    labels: `helm upgrade --take-ownership` changes what runs as little as another `apply`."""
    overlay, components, values = TWINS[name]
    theirs = with_components(
        tmp_path, overlay, [f"components/{component}" for component in components]
    )
    namespace = kubernetes.namespace(theirs)
    config = {**configuration_of(overlay)}
    config["prometheus"] = {"preset": "full", **config.get("prometheus", {})}
    ours = rendered({**values, "config": config}, namespace=namespace)
    _anti_affinity(ours)
    expected, found = named(theirs), named(ours)
    expected["ConfigMap", "neuron-exporter"]["data"] = config
    if "monitor" in name:
        selector = found["PodMonitor", "neuron-exporter"]["spec"]["selector"]["matchLabels"]
        assert selector.pop("app.kubernetes.io/component") == "exporter"
    if "policy" in name:
        found["NetworkPolicy", "neuron-exporter"]["spec"]["ingress"][0]["from"].pop()
    found.pop(("Service", "neuron-exporter"))
    assert found == expected


def test_pod_labels_take_the_same_right(tmp_path: Path) -> None:
    theirs = with_components(tmp_path, "overlays/eks", ["components/pod-labels"])
    ours = rendered(
        {"config": {"cloudwatch": {"enabled": True}, "identity": {"pod_labels": ["a"]}}}
    )
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        (found,) = (each for each in named(ours).values() if each["kind"] == kind)
        assert found in named(theirs).values()


def test_pods_have_the_same_labels() -> None:
    """So the selector of the DaemonSet, which cannot be changed, finds the pods of both."""
    for overlay, values in (
        ("overlays/eks", {}),
        ("overlays/simulator", {"simulator": {"enabled": True}}),
    ):
        theirs = kubernetes.workload(kubernetes.rendered(overlay))["spec"]
        ours = kubernetes.workload(
            rendered({**values, "podLabels": {"app.kubernetes.io/name": "a"}})
        )
        assert ours["spec"]["template"]["metadata"] == theirs["template"]["metadata"]


def test_never_two_exporters_on_a_node() -> None:
    """The chart's pods go to no node that has an exporter, however and in whichever namespace it
    was installed; the simulator is none."""
    values = {
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}
    }
    for given, number in (({}, 1), (values, 2)):
        (*_, rule) = rules = _anti_affinity(rendered(given))[
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert len(rules) == number
        assert (rule["topologyKey"], rule["namespaceSelector"]) == ("kubernetes.io/hostname", {})
        for overlay in EXPORTERS:
            labels = kubernetes.workload(kubernetes.rendered(overlay))["spec"]["template"][
                "metadata"
            ]
            found = rule["labelSelector"]["matchLabels"].items() <= labels["labels"].items()
            assert found == (overlay != "overlays/simulator")
    assert _anti_affinity(rendered({"simulator": {"enabled": True}})) is None


def test_names_do_not_depend_on_the_namespace() -> None:
    """A second release in the namespace has the same names, so Helm refuses it."""
    names = [named(rendered(namespace=each)).keys() for each in (NAMESPACE, "monitoring")]
    assert names[0] == names[1]
    assert {name for _, name in names[0]} == {"neuron-exporter"}


def test_upgrade_keeps_selector_and_spool(golden: Golden) -> None:
    """The API server refuses another selector; another path or name would leave a spool behind.

    The golden file is what the first chart installed: no version may change it."""
    objects = rendered({"config": {"cloudwatch": {"enabled": True}}})
    daemonset = kubernetes.workload(objects)
    (spool,) = (each for each in kubernetes.pod(objects)["volumes"] if each["name"] == "spool")
    kept = {
        "objects": sorted("/".join(name) for name in named(objects)),
        "selector": daemonset["spec"]["selector"],
        "spool": spool,
        "mountPath": next(
            each["mountPath"]
            for each in kubernetes.container(objects)["volumeMounts"]
            if each["name"] == "spool"
        ),
    }
    golden.check("kept.json", json.dumps(kept, indent=2) + "\n")


def test_pod_has_one_source() -> None:
    """The chart has no copy of a manifest: its files are links to those of kustomize."""
    links = {path.name: path.resolve() for path in (CHART / "files").iterdir()}
    assert all(path.is_symlink() for path in (CHART / "files").iterdir())
    assert links["base"] == K8S / "base"
    assert links["simulator"] == K8S / "overlays" / "simulator"
    for path in (CHART / "templates").glob("*.yaml"):
        assert "hostPath:" not in path.read_text()
