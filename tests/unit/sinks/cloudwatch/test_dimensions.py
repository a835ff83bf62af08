"""A dimension set with owner dimensions pools the series of each owner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import NO_OWNER, Machine, Owner, Owners, Timestamp
from neuron_exporter.sinks.cloudwatch.datums import (
    build_datums,
    collect_heartbeats,
    collect_metrics,
)
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet, resolve
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import Harness, cores, ecc, executions, memory, report, runtime

START = 1_700_000_040.0
FULL, _ = select_for_cloudwatch("full", [], [], per_owner=True)
POD = ("Namespace", "PodName")

RED = Owner(namespace="ml", pod="red", container="main")
BLUE = Owner(namespace="ml", pod="blue", container="main")
OWNERS = Owners(
    by_core={0: RED, 1: RED, 2: BLUE, 3: NO_OWNER},
    by_device={0: RED, 1: BLUE},
    by_pid={1: RED, 2: BLUE},
)
"""Red owns the first device and process 1, blue a core of the second device and process 2. One core
has no owner."""


def pod(name: str, namespace: str = "ml") -> Dimensions:
    """Return the pool of a pod."""
    return (("Namespace", namespace), ("PodName", name))


def two(red: float = 6, blue: float = 9, blue_busy: float = 40) -> dict[str, Any]:
    """Return a report in which both pods are busy."""
    return report(
        runtime(
            1,
            "app",
            neuroncore_counters=cores(_0=80, _1=0, _2=0, _3=0),
            execution_stats=executions(red, {"p50": 0.1}, timed_out=1),
            memory_used=memory({"0": {"tensors": 10}}, host=7),
        ),
        runtime(
            2,
            "app",
            neuroncore_counters=cores(_0=0, _1=0, _2=blue_busy, _3=5),
            execution_stats=executions(blue, {"p50": 0.4}),
            memory_used=memory({"2": {"tensors": 20}}, host=11),
        ),
        system_data={"neuron_hw_counters": ecc({}, {})},
    )


class Minute:
    """A window with pools by pod and for the machine."""

    def __init__(self, *groupings: tuple[str, ...]) -> None:
        self.windows = Windows(FULL, 60, groupings or ((), POD))
        self._bench = Harness()
        self._reports = 0

    def add(self, document: Any, owners: Owners = OWNERS) -> None:
        """Add a report."""
        wall = START + 2 * self._reports
        snapshot = self._bench.collect(document, owners=owners).snapshot
        self.windows.add(replace(snapshot, taken_at=Timestamp(wall, wall)))
        self._reports += 1

    def take(self) -> Window:
        """Return the window."""
        (window,) = self.windows.take(START + 60)
        return window


def test_owner_pool_has_own_cores() -> None:
    minute = Minute()
    minute.add(two())
    values = minute.take().values
    assert values[pod("red"), "NeuronCoreUtilization"] == {0.8: 1, 0.0: 1}
    assert values[pod("blue"), "NeuronCoreUtilization"] == {0.4: 1}
    assert values[MACHINE_POOL, "NeuronCoreUtilization"] == {0.8: 1, 0.4: 1, 0.05: 1, 0.0: 1}


def test_owner_pool_has_own_runtimes() -> None:
    minute = Minute()
    minute.add(two())
    minute.add(two(red=2))
    window = minute.take()
    assert window.deltas[pod("red"), "ExecutionsCompleted"] == 8
    assert window.deltas[pod("blue"), "ExecutionsCompleted"] == 18
    assert window.deltas[pod("red"), "ExecutionErrors"] == 2
    assert window.deltas[pod("blue"), "ExecutionErrors"] == 0
    assert window.values[pod("red"), "ExecutionLatency"] == {0.1: 8}
    assert window.values[pod("blue"), "ExecutionLatency"] == {0.4: 18}
    assert window.values[pod("blue"), "RuntimeHostMemoryUsed"] == {11: 2}
    assert window.values[pod("red"), "NeuronDeviceMemoryUsed"] == {10: 2}


def test_owner_pool_counts_own_busy_cores() -> None:
    minute = Minute()
    minute.add(two())
    minute.add(two(blue_busy=0))
    values = minute.take().values
    assert values[pod("red"), "NeuronCoresInUse"] == {1: 2}
    assert values[pod("blue"), "NeuronCoresInUse"] == {1: 1, 0: 1}


def test_unread_runtime_suppresses_busy_cores() -> None:
    minute = Minute()
    minute.add(
        report(
            runtime(1, neuroncore_counters=cores(_0=80)),
            runtime(2, neuroncore_counters=cores(_2=1) | {"error": "busy"}),
        )
    )
    assert (pod("red"), "NeuronCoresInUse") not in minute.take().values


def test_device_events_belong_to_device_owner() -> None:
    minute = Minute()
    for reading in (3, 3, 5):
        system = {"neuron_hw_counters": ecc({}, {"mem_ecc_uncorrected": reading})}
        minute.add(report(system_data=system))
    deltas = minute.take().deltas
    assert deltas[pod("blue"), "EccUncorrected"] == 2
    assert deltas[pod("red"), "EccUncorrected"] == 0


def test_host_metrics_have_no_owner() -> None:
    minute = Minute()
    minute.add(two())
    window = minute.take()
    of_pods = {name for pool, name in (*window.values, *window.deltas) if pool}
    assert not [name for name in of_pods if name.startswith(("Host", "Exporter"))]
    by_pod = DimensionSet(POD, (), POD)
    assert collect_heartbeats(window, 60, FULL, [by_pod]) == []


def test_pods_come_and_go_without_double_counts() -> None:
    minute = Minute()
    only_red = Owners(by_pid={1: RED})
    one = report(runtime(1, "app", execution_stats=executions(5)))
    minute.add(one, only_red)
    minute.add(two(), OWNERS)
    minute.add(report(), Owners())
    minute.add(one, only_red)
    window = minute.take()
    assert window.deltas[pod("red"), "ExecutionsCompleted"] == 5 + 6 + 5
    assert window.deltas[pod("blue"), "ExecutionsCompleted"] == 9
    assert window.deltas[MACHINE_POOL, "ExecutionsCompleted"] == 5 + 6 + 9 + 5


def test_late_owner_loses_nothing() -> None:
    minute = Minute()
    one = report(runtime(1, "app", execution_stats=executions(5)))
    minute.add(one, Owners(lookup_enabled=True))
    minute.add(one, Owners(by_pid={1: RED}))
    minute.add(one, Owners(by_pid={1: RED}))
    window = minute.take()
    assert window.deltas[pod("red"), "ExecutionsCompleted"] == 15
    assert window.deltas[MACHINE_POOL, "ExecutionsCompleted"] == 15


@pytest.mark.parametrize(
    "other_owners",
    [
        Owners(lookup_enabled=True),
        Owners(by_pid={1: replace(RED, pod_labels=(("label_team", "a"),))}),
        Owners(by_pid={1: replace(RED, service="late")}),
    ],
    ids=["unknown", "a label of the pod", "a service"],
)
def test_changing_owner_counts_nothing_twice(other_owners: Owners) -> None:
    minute = Minute()
    one = report(runtime(1, "app", execution_stats=executions(100)))
    for number in range(10):
        minute.add(one, other_owners if number % 4 == 2 else Owners(by_pid={1: RED}))
    deltas = minute.take().deltas
    assert deltas[MACHINE_POOL, "ExecutionsCompleted"] == 1000
    known = 9 if other_owners.lookup_enabled else 10  # the first report waits for the lookup
    assert deltas[pod("red"), "ExecutionsCompleted"] == 100 * known


def test_ended_runtimes_are_forgotten() -> None:
    minute = Minute(POD)
    for number in range(30):
        owner = Owner(namespace="ml", pod=f"job-{number}")
        document = report(runtime(number, f"t{number}", execution_stats=executions(1)))
        minute.add(document, Owners(by_pid={number: owner}))
    assert not [key for key in minute.windows._remembered if "execution" in key[0].name]


@pytest.mark.parametrize(
    ("names", "pools"),
    [
        (("Namespace",), {(("Namespace", "ml"),): {0.8: 1, 0.0: 1, 0.4: 1}}),
        (
            ("PodName", "ContainerName"),
            {(("PodName", "red"), ("ContainerName", "main")): {0.8: 1, 0.0: 1}}
            | {(("PodName", "blue"), ("ContainerName", "main")): {0.4: 1}},
        ),
    ],
)
def test_pool_by_any_owner_field(names: tuple[str, ...], pools: Any) -> None:
    minute = Minute(names)
    minute.add(two())
    found = minute.take().values
    wanted = {(pool, "NeuronCoreUtilization"): values for pool, values in pools.items()}
    assert {key: found[key] for key in found if key[1] == "NeuronCoreUtilization"} == wanted


def test_owner_with_missing_field_has_no_pool() -> None:
    minute = Minute(("PodName", "ContainerName"))
    minute.add(two(), Owners(by_core={0: Owner(namespace="ml", pod="red")}))
    assert minute.take().values == {}


def test_dimensions_are_in_configured_order() -> None:
    minute = Minute(POD)
    minute.add(two())
    names = ["Namespace", "ClusterName", "PodName"]
    named = resolve(names, Machine(cluster="here", pod_name="exporter-x"), {"Stage": "prod"})
    assert named is not None
    window = minute.take()
    made = build_datums(window, collect_metrics(window, FULL, [named]))
    assert {tuple((d["Name"], d["Value"]) for d in datum["Dimensions"]) for datum in made} == {
        (("Namespace", "ml"), ("ClusterName", "here"), ("PodName", name), ("Stage", "prod"))
        for name in ("red", "blue")
    }


def test_owner_values_are_sanitized() -> None:
    minute = Minute(("Namespace",))
    minute.add(two(), Owners(by_core={0: Owner(namespace="m\u00fcll\n")}))
    assert (("Namespace", "m?ll"),) in {pool for pool, _ in minute.take().values}


def test_dimension_is_a_label_of_the_process() -> None:
    """It has a pool for each job, without what has no job."""
    grouping = ("Namespace", "job_id")
    minute = Minute(("job_id",), grouping, ())
    jobs = {1: (("job_id", "7\N{SNOWMAN}"),), 2: (("job_id", "8"),), 3: ()}
    document = two()
    minute.add(document, replace(OWNERS, process_labels=jobs))
    minute.add(document, replace(OWNERS, process_labels={**jobs, 1: (("job_id", "9"),)}))
    window = minute.take()
    of_jobs = {pool for pool, _ in window.deltas if pool and len(pool) == 1}
    assert of_jobs == {(("job_id", job),) for job in ("7?", "8", "9")}
    assert window.deltas[(("job_id", "8"),), "ExecutionsCompleted"] == 18
    assert window.deltas[(("Namespace", "ml"), ("job_id", "8")), "ExecutionsCompleted"] == 18
    per_job = [window.deltas[(("job_id", job),), "ExecutionsCompleted"] for job in ("7?", "9")]
    assert sum(per_job) == window.deltas[MACHINE_POOL, "ExecutionsCompleted"] - 18
