"""Whose cores are, where neuron-monitor's own report says so."""

from __future__ import annotations

from typing import Any

from neuron_exporter.metrics.owner_resolution import SHORTEST_LIFE
from neuron_exporter.model import Owner, Owners
from tests.support.reports import Bench, cores, group, report, runtime

UTILIZATION = "neuroncore_utilization_ratio"
BUSY = runtime(neuroncore_counters=cores(_0=50))


def pod(name: str, *containers: str) -> dict[str, Any]:
    """A pod of the namespace `ml`."""
    return {"pod_name": name, "namespace": "ml", "container_name": list(containers)}


def told(
    cores: dict[str, Any] | None = None, devices: dict[str, Any] | None = None, error: str = ""
) -> dict[str, Any]:
    """A report with `neuron_k8s_info`."""
    info = group(error, period=15.0, neuroncores_k8s_info=cores, neurondevices_k8s_info=devices)
    return report(BUSY, neuron_k8s_info=info)


def owners_of_cores(
    document: Any, bench: Bench | None = None, **more: Any
) -> list[tuple[str, ...]]:
    """The labels of each core's utilization."""
    return list((bench or Bench()).samples(document, **more).of(UTILIZATION))


def test_a_cores_pod_is_a_label() -> None:
    """Namespace, pod and container of the report join the core's labels."""
    assert owners_of_cores(told({"0": pod("infer-0", "model"), "1": pod("", "x"), "2": None})) == [
        ("0", "ml", "infer-0", "model"), ("1",), ("2",), ("3",),
    ]  # fmt: skip


def test_of_several_containers_none_is_named() -> None:
    """Which of a pod's containers uses the core is not known, so that no label says it."""
    assert owners_of_cores(told({"0": pod("infer-0", "a", "b"), "1": pod("infer-1")}))[:2] == [
        ("0", "ml", "infer-0"),
        ("1", "ml", "infer-1"),
    ]


def test_a_pod_that_holds_a_device_holds_its_cores() -> None:
    """Where whole devices are given to pods, the cores on them follow, unless told otherwise."""
    document = told({"3": pod("other", "c")}, {"1": pod("train", "c")})
    assert owners_of_cores(document) == [
        ("0",), ("1",), ("2", "ml", "train", "c"), ("3", "ml", "other", "c"),
    ]  # fmt: skip


def test_devices_may_learn_late_how_many_cores_they_have() -> None:
    """A first report without the hardware's counts hides the owners of cores no longer than it
    has to."""
    bench, document = Bench(), told({}, {"1": pod("train", "c")})
    assert owners_of_cores({**document, "neuron_hardware_info": None}, bench) == [("0",)]
    assert owners_of_cores(document, bench)[2] == ("2", "ml", "train", "c")


def test_an_error_names_nobody_and_is_counted() -> None:
    """With an error the section says nothing, and its group counts as failed."""
    collected = Bench().collect(told({"0": pod("infer-0", "c")}, error="no kubelet"))
    assert collected.group_errors == {"neuron_k8s_info": 1}
    labels = [s.labels for s in collected.snapshot.shape if s.spec.name == UTILIZATION]
    assert labels[0] == (("neuroncore", "0"),)


def test_what_was_said_holds_until_it_is_old() -> None:
    """The section may come less often than reports; nobody stays an owner for ever."""
    bench = Bench()
    first = bench.collect(told({"0": pod("infer-0", "c")})).snapshot
    assert bench.collect(report(BUSY)).snapshot.shape is first.shape
    bench.now += SHORTEST_LIFE
    assert owners_of_cores(report(BUSY), bench)[0] == ("0",)
    assert owners_of_cores(told({"0": pod("infer-1", "c")}), bench)[0][2] == "infer-1"


def test_an_unchanged_pod_changes_no_series() -> None:
    """The same owners in every report are the same series, prepared once."""
    bench = Bench()
    document = told({"0": pod("infer-0", "c")}, {"1": pod("train", "c")})
    first = bench.collect(document).snapshot
    assert bench.collect(document).snapshot.shape is first.shape


def test_who_knows_better_goes_first() -> None:
    """What the exporter has found out itself goes before the stream."""
    known = Owners({0: Owner(namespace="ml", pod="seen")})
    document = told({"0": pod("said", "c"), "1": pod("said", "c")})
    assert owners_of_cores(document, owners=known)[:2] == [
        ("0", "ml", "seen"),
        ("1", "ml", "said", "c"),
    ]
