"""Owners of cores from neuron-monitor's own report."""

from __future__ import annotations

from typing import Any

from neuron_exporter.metrics.owner_resolution import MIN_LIFETIME
from neuron_exporter.model import Owner, Owners
from tests.support.reports import Harness, cores, group, report, runtime

UTILIZATION = "neuroncore_utilization_ratio"
BUSY = runtime(neuroncore_counters=cores(_0=50))


def pod(name: str, *containers: str) -> dict[str, Any]:
    """Return a pod of the namespace `ml`."""
    return {"pod_name": name, "namespace": "ml", "container_name": list(containers)}


def report_with_pods(
    cores: dict[str, Any] | None = None,
    devices: dict[str, Any] | None = None,
    error: str = "",
    period: float = 15.0,
) -> dict[str, Any]:
    """Return a report with `neuron_k8s_info`."""
    info = group(error, period=period, neuroncores_k8s_info=cores, neurondevices_k8s_info=devices)
    return report(BUSY, neuron_k8s_info=info)


def core_labels(
    document: Any, harness: Harness | None = None, **more: Any
) -> list[tuple[str, ...]]:
    """Return the labels of each core's utilization."""
    return list((harness or Harness()).samples(document, **more).values(UTILIZATION))


def test_pod_is_a_label_of_its_core() -> None:
    document = report_with_pods({"0": pod("infer-0", "model"), "1": pod("", "x"), "2": None})
    assert core_labels(document) == [
        ("0", "ml", "infer-0", "model"), ("1",), ("2",), ("3",),
    ]  # fmt: skip


def test_several_containers_add_no_container_label() -> None:
    assert core_labels(report_with_pods({"0": pod("infer-0", "a", "b"), "1": pod("infer-1")}))[
        :2
    ] == [
        ("0", "ml", "infer-0"),
        ("1", "ml", "infer-1"),
    ]


def test_pod_of_device_owns_its_cores() -> None:
    document = report_with_pods({"3": pod("other", "c")}, {"1": pod("train", "c")})
    assert core_labels(document) == [
        ("0",), ("1",), ("2", "ml", "train", "c"), ("3", "ml", "other", "c"),
    ]  # fmt: skip


def test_core_count_may_come_late() -> None:
    harness, document = Harness(), report_with_pods({}, {"1": pod("train", "c")})
    assert core_labels({**document, "neuron_hardware_info": None}, harness) == [("0",)]
    assert core_labels(document, harness)[2] == ("2", "ml", "train", "c")


def test_error_adds_no_owner_and_is_counted() -> None:
    collected = Harness().collect(report_with_pods({"0": pod("infer-0", "c")}, error="no kubelet"))
    assert collected.group_errors == {"neuron_k8s_info": 1}
    labels = [s.labels for s in collected.snapshot.shape if s.spec.name == UTILIZATION]
    assert labels[0] == (("neuroncore", "0"),)


def test_owners_are_kept_until_stale() -> None:
    harness = Harness()
    first = harness.collect(report_with_pods({"0": pod("infer-0", "c")})).snapshot
    assert harness.collect(report(BUSY)).snapshot.shape is first.shape
    harness.now += MIN_LIFETIME
    assert core_labels(report(BUSY), harness)[0] == ("0",)
    assert core_labels(report_with_pods({"0": pod("infer-1", "c")}), harness)[0][2] == "infer-1"


def test_owners_of_a_long_period_are_kept_for_three_periods() -> None:
    harness, period = Harness(), 2 * MIN_LIFETIME
    harness.collect(report_with_pods({"0": pod("infer-0", "c")}, period=period))
    harness.now += 3 * period - 10
    assert core_labels(report(BUSY), harness)[0] == ("0", "ml", "infer-0", "c")
    harness.now += 10
    assert core_labels(report(BUSY), harness)[0] == ("0",)


def test_unchanged_owners_keep_the_shape() -> None:
    harness = Harness()
    document = report_with_pods({"0": pod("infer-0", "c")}, {"1": pod("train", "c")})
    first = harness.collect(document).snapshot
    assert harness.collect(document).snapshot.shape is first.shape


def test_providers_take_precedence_over_report() -> None:
    known = Owners({0: Owner(namespace="ml", pod="provider")})
    document = report_with_pods({"0": pod("report", "c"), "1": pod("report", "c")})
    assert core_labels(document, owners=known)[:2] == [
        ("0", "ml", "provider"),
        ("1", "ml", "report", "c"),
    ]
