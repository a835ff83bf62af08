"""Every value of the chart changes the objects as it says, and they stay legal."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.integration.k8s.chart.cases import CASES, HASH, TLS, Case, leaves, names
from tests.integration.k8s.test_second_apply import all_changes
from tests.support.helm import SCHEMA, defaults, pod_of_test, rendered
from tests.support.kubernetes import Object
from tests.support.kubernetes_schemas import VERSIONS, all_problems
from tests.support.pod_security import strictest_level

pytestmark = pytest.mark.usefixtures("needs_helm")


def field(objects: list[Object], case: Case) -> Any:
    """Return the field of an object; None if either is missing. In names, `~` stands for a dot."""
    kind, _, name = case.of.partition("/")
    found: Any = next(
        (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)), None
    )
    for step in case.path.split(".") if case.path else ():
        if isinstance(found, list):
            found = found[int(step)] if int(step) < len(found) else None
        elif isinstance(found, dict):
            found = found.get(step.replace("~", "."))
    return found


@cache
def _by_default() -> list[Object]:
    return rendered()


def test_every_value_is_tried() -> None:
    tried = {name for case in CASES for name in names(case).split(",")}
    # Has an effect only beside another value, and is tried below.
    assert set(leaves(defaults(), SCHEMA)) - tried == {"rbac.create"}


@pytest.mark.parametrize("case", CASES, ids=names)
def test_value(case: Case) -> None:
    objects = rendered(case.values)
    found = field(objects, case)
    if case.path.endswith("checksum/config"):
        assert len(found) == 64
    else:
        assert found == case.expected
    assert field(_by_default(), case) != found
    for version in VERSIONS:
        assert all_problems(objects, version) == {}
    probes = [value for key, value in containers(objects)[0].items() if key.endswith("Probe")]
    assert [len({"exec", "httpGet"} & each.keys()) for each in probes] == [1, 1]
    assert {len(each) for each in pod(objects)["volumes"]} == {2}, "a name and one source"
    mounts = [mount["name"] for each in containers(objects) for mount in each["volumeMounts"]]
    assert set(mounts) <= {each["name"] for each in pod(objects)["volumes"]}


def pod(objects: list[Object]) -> Object:
    """Return the specification of the exporter's pod."""
    (found,) = (each for each in objects if each["kind"] in ("DaemonSet", "Deployment"))
    return dict(found["spec"]["template"]["spec"])


def containers(objects: list[Object]) -> list[Object]:
    """Return all containers of the exporter's pod."""
    return [*pod(objects)["containers"], *pod(objects).get("initContainers", ())]


def test_second_upgrade_changes_nothing() -> None:
    """The API server stores the objects as they are."""
    values = {
        "config": {"cloudwatch": {"enabled": True}, "identity": {"pod_labels": ["team"]}},
        "networkPolicy": {"enabled": True},
        "tools": "initImage",
        "toolsImage": "example.com/tools:1",
        "webConfig": TLS,
    }
    assert not all_changes([*rendered(values), pod_of_test(values)])


def test_roles_can_be_managed_elsewhere() -> None:
    config = {"identity": {"pod_labels": ["team"]}}
    objects = rendered({"config": config, "rbac": {"create": False}})
    assert not [each for each in objects if each["kind"].startswith("Cluster")]
    assert pod(objects)["automountServiceAccountToken"] is True


def test_empty_sections_of_the_configuration() -> None:
    """A section without keys has its defaults, as in the exporter's own file."""
    objects = rendered({"config": {"prometheus": None, "cloudwatch": None, "identity": None}})
    assert containers(objects)[0]["ports"] == [{"name": "metrics", "containerPort": 9415}]


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_monitor_selects_the_exporter(kind: str) -> None:
    """Directly, or through the Service; and it hides none of the owners' labels."""
    objects = rendered({"monitor": {"kind": kind}})
    (monitor,) = (each for each in objects if each["kind"] == kind)
    wanted = "DaemonSet" if kind == "PodMonitor" else "Service"
    (selected,) = (each for each in objects if each["kind"] == wanted)
    if kind == "ServiceMonitor":
        assert (
            monitor["spec"]["selector"]["matchLabels"].items()
            <= selected["metadata"]["labels"].items()
        )
        selector = selected["spec"]["selector"]
        dropped = "namespace|pod|container|service"
    else:
        selector = monitor["spec"]["selector"]["matchLabels"]
        dropped = "namespace|pod|container"
    (daemonset,) = (each for each in objects if each["kind"] == "DaemonSet")
    assert selector.items() <= daemonset["spec"]["template"]["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    assert {"action": "labeldrop", "regex": dropped} in endpoint["relabelings"]


def test_pod_of_test_is_no_exporter() -> None:
    """The DaemonSet would adopt the pod, and Prometheus scrape it; the policy lets it through."""
    objects = rendered({"networkPolicy": {"enabled": True}, "monitor": {"kind": "PodMonitor"}})
    found = pod_of_test()
    labels = found["metadata"]["labels"]
    for each in objects:
        selector = each.get("spec", {}).get("selector", {})
        wanted = selector.get("matchLabels", selector)
        assert not wanted or not wanted.items() <= labels.items(), each["kind"]
    (policy,) = (each for each in objects if each["kind"] == "NetworkPolicy")
    peers = policy["spec"]["ingress"][0]["from"]
    (admitted,) = (each["podSelector"]["matchLabels"] for each in peers if "podSelector" in each)
    assert admitted.items() <= labels.items()
    for version in VERSIONS:
        assert all_problems([found], version) == {}


@pytest.mark.parametrize("web", [{}, {"tlsSecret": "tls", "users": {"prometheus": HASH}}])
def test_simulator_and_test_need_no_rights(web: dict[str, Any]) -> None:
    """Every namespace admits them; the DaemonSet needs one that admits privileged pods."""
    values = {"simulator": {"enabled": True}, "webConfig": web}
    assert strictest_level(pod(rendered(values))) == "restricted"
    assert strictest_level(pod_of_test(values)["spec"]) == "restricted"
    assert strictest_level(pod(rendered({"webConfig": web}))) == "privileged"
    assert not [each for each in rendered(values) if each["kind"] == "ServiceAccount"]


def test_chart_creates_no_namespace() -> None:
    assert "Namespace" not in {each["kind"] for each in _by_default()}
    elsewhere = rendered({"dashboards": {"enabled": True}}, namespace="monitoring")
    assert {each["metadata"]["namespace"] for each in elsewhere} == {"monitoring"}
