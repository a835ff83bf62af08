"""A snapshot as the page's document tells it."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.model import Layout, Owner, Owners
from neuron_exporter.web.page import reading
from tests.support.reports import Bench, cores, ecc, executions, memory, report, runtime

GROUPS = {
    "neuroncore_counters": cores(_0=50, _1=25),
    "memory_used": memory({"0": {"tensors": 10, "constants": 5}, "1": {"tensors": 1}}, host=7),
    "execution_stats": executions(
        10, latency={"p50": 0.5, "p99": 0.9}, device_latency={"p50": 0.25}, timed_out=2
    ),
}


def told(bench: Bench, *reports: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is told of the last of these reports, after the others."""
    snapshots = [bench.collect(each, **more).snapshot for each in reports]
    return reading(snapshots[-1], snapshots[-2] if len(snapshots) > 1 else None)


def test_a_core_has_everything_of_its_own() -> None:
    """Utilization, memory by category and the runtimes that hold it stand by the core, and its
    device is by the machine's own count."""
    document = told(Bench(), report(runtime(7, "a", **GROUPS)))
    first, second, third, fourth = document["cores"]
    assert (first["core"], first["device"], fourth["device"]) == (0, 0, 1)
    assert (first["utilization"], second["utilization"], third["utilization"]) == (0.5, 0.25, 0.0)
    assert first["memory_bytes"]["tensors"] == 10
    assert first["runtimes"] == [{"tag": "a", "pid": 7}]
    assert "runtimes" not in third
    assert document["hardware"] == {"devices": 2, "cores_per_device": 2}


def test_several_runtimes_on_a_core_are_added_up() -> None:
    """In AWS's layout, which has a series for each runtime, a core shows the sum, at most 1."""
    two = (runtime(1, "a", **GROUPS), runtime(2, "b", **GROUPS), runtime(3, "c", **GROUPS))
    for layout in Layout:
        first = told(Bench(layout=layout), report(*two))["cores"][0]
        assert first["utilization"] == 1.0
        assert first["memory_bytes"]["tensors"] == 30


def test_a_runtime_has_its_latency_and_its_cores() -> None:
    """Percentiles in all and on the device, counts by how executions ended, memory by place, the
    processes with its labels and the cores that they hold."""
    document = told(Bench(), report(runtime(7, "a", **GROUPS), runtime(8, "a", **GROUPS)))
    (only,) = document["runtimes"]
    assert only["tag"] == "a"
    assert (only["pids"], only["cores"]) == ([7, 8], [0, 1])
    assert only["latency_seconds"] == {"p50": 0.5, "p99": 0.9}
    assert only["device_latency_seconds"] == {"p50": 0.25}
    assert only["executions"] == {"completed": 20, "timed_out": 4}
    assert (only["device_memory_bytes"], only["host_memory_bytes"]) == (32, 14)


@pytest.mark.parametrize("labels", [("runtime_tag",), ("runtime_tag", "pid")])
def test_runtimes_are_told_as_the_metrics_tell_them(labels: tuple[str, ...]) -> None:
    """Where the process id is a label, equal tags are two runtimes, each with its own process."""
    document = told(
        Bench(runtime_labels=labels),
        report(runtime(7, "a", **GROUPS), runtime(8, "a", **GROUPS)),
    )
    pids = [each["pids"] for each in document["runtimes"]]
    assert pids == ([[7], [8]] if "pid" in labels else [[7, 8]])


def test_owners_stand_by_what_is_theirs() -> None:
    """A runtime that a pod owns names it, and keeps it apart from another's of the same tag."""
    pod = Owner(namespace="ml", pod="bert-0")
    owners = Owners(by_pid={7: pod}, by_core={0: pod}, allocated=frozenset({0}))
    document = told(
        Bench(),
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


def test_rates_are_what_came_between_two_reports() -> None:
    """Executions a second are the rise over the seconds between, for each runtime and in all, and
    with a newcomer among them; one report alone tells no rate."""
    bench = Bench()
    busy = runtime(7, "a", execution_stats=executions(10))
    first = bench.collect(report(busy)).snapshot
    assert "completed_per_second" not in reading(first, None)["executions"]
    second = bench.collect(report(busy)).snapshot
    same = reading(second, first)
    assert same["executions"]["completed_per_second"] == 2.0
    assert same["runtimes"][0]["executions_per_second"] == 2.0
    newcomer = runtime(8, "b", execution_stats=executions(5))
    third = bench.collect(report(busy, newcomer)).snapshot
    assert third.shape is not second.shape
    both = reading(third, second)
    assert both["executions"]["completed_per_second"] == 3.0
    assert [each["executions_per_second"] for each in both["runtimes"]] == [2.0, 1.0]


def test_memory_events_are_counted_from_the_start() -> None:
    """A device that was at 5 when the exporter began, and is at 7 now, had two."""
    bench = Bench()
    document = told(
        bench,
        report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 5})}),
        report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 7})}),
    )
    assert document["devices"][0]["ecc_events"]["mem_ecc_corrected"] == 2


def test_what_is_not_there_is_not_told() -> None:
    """A group that is missing leaves its fields out, and never makes a zero."""
    document = told(Bench(), report(runtime(7, "a", execution_stats=executions(1))))
    assert "latency_seconds" not in document["runtimes"][0]
    assert "device_memory_bytes" not in document["runtimes"][0]
    assert document["devices"] == []
    assert all("memory_bytes" not in core for core in document["cores"])
