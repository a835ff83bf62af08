"""The hardware part of the page's document."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Layout, Owner, Owners
from neuron_exporter.web.page import build_reading
from tests.support.reports import Harness, cores, ecc, executions, memory, report, runtime

GROUPS = {
    "neuroncore_counters": cores(_0=50, _1=25),
    "memory_used": memory({"0": {"tensors": 10, "constants": 5}, "1": {"tensors": 1}}, host=7),
    "execution_stats": executions(
        10, latency={"p50": 0.5, "p99": 0.9}, device_latency={"p50": 0.25}, timed_out=2
    ),
}


def reading(harness: Harness, *reports: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the reading of the last report, after the others."""
    snapshots = [harness.collect(each, **more).snapshot for each in reports]
    return build_reading(snapshots[-1], snapshots[-2] if len(snapshots) > 1 else None)


def test_core() -> None:
    document = reading(Harness(), report(runtime(7, "a", **GROUPS)))
    first, second, third, fourth = document["cores"]
    assert (first["core"], first["device"], fourth["device"]) == (0, 0, 1)
    assert (first["utilization"], second["utilization"], third["utilization"]) == (0.5, 0.25, 0.0)
    assert first["memory_bytes"]["tensors"] == 10
    assert first["runtimes"] == [{"tag": "a", "pid": 7}]
    assert third["runtimes"] == []
    assert document["hardware"] == {"devices": 2, "cores_per_device": 2}


def test_core_with_cloudwatch_alone() -> None:
    """The device is known without metrics of the hardware; the runtimes are not."""
    harness = Harness()
    harness.collector.set_rows(select_for_cloudwatch("standard", [], [])[0].rows)
    document = reading(harness, report(runtime(7, "a", **GROUPS)))
    assert document["hardware"] == {}
    assert [core["device"] for core in document["cores"]] == [0, 0, 1, 1]
    assert all("runtimes" not in core for core in document["cores"])


def test_core_of_unknown_device() -> None:
    counters = cores(_0=50, _1=0)
    busy = report(runtime(7, "a", neuroncore_counters=counters), neuron_hardware_info=None)
    assert all("device" not in core for core in reading(Harness(), busy)["cores"])


def test_core_with_several_runtimes() -> None:
    """AWS's layout has one series per runtime; their sum is shown, at most 1."""
    two = (runtime(1, "a", **GROUPS), runtime(2, "b", **GROUPS), runtime(3, "c", **GROUPS))
    for layout in Layout:
        first = reading(Harness(layout=layout), report(*two))["cores"][0]
        assert first["utilization"] == 1.0
        assert first["memory_bytes"]["tensors"] == 30


def test_runtime() -> None:
    document = reading(Harness(), report(runtime(7, "a", **GROUPS), runtime(8, "a", **GROUPS)))
    (only,) = document["runtimes"]
    assert only["tag"] == "a"
    assert (only["pids"], only["cores"]) == ([7, 8], [0, 1])
    assert only["latency_seconds"] == {"p50": 0.5, "p99": 0.9}
    assert only["device_latency_seconds"] == {"p50": 0.25}
    executed = {status: count for status, count in only["executions"].items() if count}
    assert executed == {"completed": 20, "timed_out": 4}
    assert only["failed"]["timed_out"] == sum(only["failed"].values()) == 4
    assert (only["device_memory_bytes"], only["host_memory_bytes"]) == (32, 14)


@pytest.mark.parametrize("labels", [("runtime_tag",), ("runtime_tag", "pid")])
def test_runtimes_with_equal_tags(labels: tuple[str, ...]) -> None:
    """They are merged unless the process id is a label."""
    document = reading(
        Harness(runtime_labels=labels),
        report(runtime(7, "a", **GROUPS), runtime(8, "a", **GROUPS)),
    )
    pids = [each["pids"] for each in document["runtimes"]]
    assert pids == ([[7], [8]] if "pid" in labels else [[7, 8]])


def test_owners() -> None:
    """Runtimes with the same tag and different owners are not merged."""
    pod = Owner(namespace="ml", pod="bert-0")
    owners = Owners(by_pid={7: pod}, by_core={0: pod}, allocated_cores=frozenset({0}))
    document = reading(
        Harness(),
        report(
            runtime(7, "a", neuroncore_counters=cores(_0=50), execution_stats=executions(1)),
            runtime(8, "a", neuroncore_counters=cores(_1=50), execution_stats=executions(1)),
        ),
        owners=owners,
    )
    owned, other = sorted(document["runtimes"], key=lambda each: "owner" not in each)
    assert owned["owner"] == {"namespace": "ml", "pod": "bert-0"}
    assert (owned["pids"], other["pids"]) == ([7], [8])
    first, second, *_ = document["cores"]
    assert (first["owner"]["pod"], first["allocated"]) == ("bert-0", True)
    assert second["allocated"] is False


def test_rates() -> None:
    """Rates per runtime and in total, also when a new runtime appears."""
    harness = Harness()
    busy = runtime(7, "a", execution_stats=executions(10))
    first = harness.collect(report(busy)).snapshot
    assert "completed_per_second" not in build_reading(first, None)["executions"]
    second = harness.collect(report(busy)).snapshot
    same = build_reading(second, first)
    assert same["executions"]["completed_per_second"] == 2.0
    assert same["runtimes"][0]["executions_per_second"] == 2.0
    newcomer = runtime(8, "b", execution_stats=executions(5))
    third = harness.collect(report(busy, newcomer)).snapshot
    assert third.shape is not second.shape
    both = build_reading(third, second)
    assert both["executions"]["completed_per_second"] == 3.0
    assert [each["executions_per_second"] for each in both["runtimes"]] == [2.0, 1.0]


def test_gap_of_executions() -> None:
    """A runtime whose cores are busy without an execution ending is stalled after 30 s."""
    stuck = runtime(7, "a", neuroncore_counters=cores(_0=99), execution_stats=executions(0))
    seconds = [
        (each["execution_gap_seconds"], each["is_stalled"])
        for number in range(1, 8)
        for each in reading(Harness(), *[report(stuck)] * number)["runtimes"]
    ]
    assert [gap for gap, _ in seconds] == sorted(gap for gap, _ in seconds)
    assert [is_stalled for _, is_stalled in seconds] == [gap >= 30 for gap, _ in seconds]
    assert seconds[-1][1]


def test_ecc_events_since_start() -> None:
    harness = Harness()
    document = reading(
        harness,
        report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 5})}),
        report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 7})}),
    )
    assert document["devices"][0]["ecc_events"]["mem_ecc_corrected"] == 2


def test_missing_groups() -> None:
    """A missing group leaves its fields out; they are never 0."""
    document = reading(Harness(), report(runtime(7, "a", execution_stats=executions(1))))
    assert "latency_seconds" not in document["runtimes"][0]
    assert "device_memory_bytes" not in document["runtimes"][0]
    assert document["devices"] == []
    assert all("memory_bytes" not in core for core in document["cores"])
