"""A dimension set by workload pools what that workload holds, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import NOBODY, Machine, Moment, Owner, Owners
from neuron_exporter.sinks.cloudwatch.datums import datums, heartbeats, measure
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet, resolve
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import Bench, cores, ecc, executions, memory, report, runtime

START = 1_700_000_040.0
FULL, _ = for_cloudwatch("full", [], [], per_owner=True)
POD = ("Namespace", "PodName")

RED = Owner(namespace="ml", pod="red", container="main")
BLUE = Owner(namespace="ml", pod="blue", container="main")
OWNERS = Owners(
    by_core={0: RED, 1: RED, 2: BLUE, 3: NOBODY},
    by_device={0: RED, 1: BLUE},
    by_pid={1: RED, 2: BLUE},
)
"""Red has the first device and process 1, blue a core of the second and process 2; a core is
nobody's."""


def pod(name: str, namespace: str = "ml") -> Dimensions:
    """The pool of a pod."""
    return (("Namespace", namespace), ("PodName", name))


def two(red: float = 6, blue: float = 9, blue_busy: float = 40) -> dict[str, Any]:
    """A report in which both pods work."""
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
    """A window that pools by pod and for the machine."""

    def __init__(self, *holders: tuple[str, ...]) -> None:
        self.windows = Windows(FULL, 60, holders or ((), POD))
        self._bench = Bench()
        self._reports = 0

    def add(self, document: Any, owners: Owners = OWNERS) -> None:
        """Add a report."""
        wall = START + 2 * self._reports
        snapshot = self._bench.collect(document, owners=owners).snapshot
        self.windows.add(replace(snapshot, taken_at=Moment(wall, wall)))
        self._reports += 1

    def take(self) -> Window:
        """The window."""
        (window,) = self.windows.take(START + 60)
        return window


def test_a_workload_pools_its_own_cores_alone() -> None:
    """Cores of another pod, and those that are nobody's, are in no pod's metric; the machine's has
    all of them."""
    minute = Minute()
    minute.add(two())
    values = minute.take().values
    assert values[pod("red"), "NeuronCoreUtilization"] == {0.8: 1, 0.0: 1}
    assert values[pod("blue"), "NeuronCoreUtilization"] == {0.4: 1}
    assert values[MACHINE, "NeuronCoreUtilization"] == {0.8: 1, 0.4: 1, 0.05: 1, 0.0: 1}


def test_a_workload_has_its_own_executions_latency_and_memory() -> None:
    """What a pod's processes completed, how long that took and what they use is the pod's, although
    both have the same tag."""
    minute = Minute()
    minute.add(two())
    minute.add(two(red=2))
    window = minute.take()
    assert window.rises[pod("red"), "ExecutionsCompleted"] == 8
    assert window.rises[pod("blue"), "ExecutionsCompleted"] == 18
    assert window.rises[pod("red"), "ExecutionErrors"] == 2
    assert window.rises[pod("blue"), "ExecutionErrors"] == 0
    assert window.values[pod("red"), "ExecutionLatency"] == {0.1: 8}
    assert window.values[pod("blue"), "ExecutionLatency"] == {0.4: 18}
    assert window.values[pod("blue"), "RuntimeHostMemoryUsed"] == {11: 2}
    assert window.values[pod("red"), "NeuronDeviceMemoryUsed"] == {10: 2}


def test_a_workload_counts_its_own_busy_cores() -> None:
    """NeuronCoresInUse of a pod is of its cores, one value a report, 0 included."""
    minute = Minute()
    minute.add(two())
    minute.add(two(blue_busy=0))
    values = minute.take().values
    assert values[pod("red"), "NeuronCoresInUse"] == {1: 2}
    assert values[pod("blue"), "NeuronCoresInUse"] == {1: 1, 0: 1}


def test_busy_cores_are_not_counted_while_some_are_unread() -> None:
    """A runtime that could not be read may keep cores busy: no number is better than a low one."""
    minute = Minute()
    minute.add(
        report(
            runtime(1, neuroncore_counters=cores(_0=80)),
            runtime(2, neuroncore_counters=cores(_2=1) | {"error": "busy"}),
        )
    )
    assert (pod("red"), "NeuronCoresInUse") not in minute.take().values


def test_events_of_a_device_are_its_holders() -> None:
    """An uncorrected error is counted for the pod that holds the device, and only new ones are."""
    minute = Minute()
    for reading in (3, 3, 5):
        system = {"neuron_hw_counters": ecc({}, {"mem_ecc_uncorrected": reading})}
        minute.add(report(system_data=system))
    rises = minute.take().rises
    assert rises[pod("blue"), "EccUncorrected"] == 2
    assert rises[pod("red"), "EccUncorrected"] == 0


def test_what_is_nobodys_is_in_no_workload() -> None:
    """The host and the heartbeat are the machine's."""
    minute = Minute()
    minute.add(two())
    window = minute.take()
    of_pods = {name for pool, name in (*window.values, *window.rises) if pool}
    assert not [name for name in of_pods if name.startswith(("Host", "Exporter"))]
    by_pod = DimensionSet(POD, (), POD)
    assert heartbeats(window, 60, FULL, [by_pod]) == []


def test_a_pod_that_goes_ends_and_one_that_comes_begins() -> None:
    """Executions of a pod are counted once, across the coming and going of others and its own end;
    nothing is remembered of it."""
    minute = Minute()
    only_red = Owners(by_pid={1: RED})
    one = report(runtime(1, "app", execution_stats=executions(5)))
    minute.add(one, only_red)
    minute.add(two(), OWNERS)
    minute.add(report(), Owners())
    minute.add(one, only_red)
    window = minute.take()
    assert window.rises[pod("red"), "ExecutionsCompleted"] == 5 + 6 + 5
    assert window.rises[pod("blue"), "ExecutionsCompleted"] == 9
    assert window.rises[MACHINE, "ExecutionsCompleted"] == 5 + 6 + 9 + 5


def test_a_pod_whose_name_is_learned_late_loses_nothing() -> None:
    """Executions from while somebody was asked whose they are go to the pod when that is known,
    once."""
    minute = Minute()
    one = report(runtime(1, "app", execution_stats=executions(5)))
    minute.add(one, Owners(asked=True))
    minute.add(one, Owners(by_pid={1: RED}))
    minute.add(one, Owners(by_pid={1: RED}))
    window = minute.take()
    assert window.rises[pod("red"), "ExecutionsCompleted"] == 15
    assert window.rises[MACHINE, "ExecutionsCompleted"] == 15


@pytest.mark.parametrize(
    "now_and_then",
    [
        Owners(asked=True),
        Owners(by_pid={1: replace(RED, pod_labels=(("label_team", "a"),))}),
        Owners(by_pid={1: replace(RED, service="late")}),
    ],
    ids=["unknown", "a label of the pod", "a service"],
)
def test_owners_that_change_count_nothing_twice(now_and_then: Owners) -> None:
    """A pod that is unknown for a while, or known by more, has each execution once at most, and
    none of its past again."""
    minute = Minute()
    one = report(runtime(1, "app", execution_stats=executions(100)))
    for number in range(10):
        minute.add(one, now_and_then if number % 4 == 2 else Owners(by_pid={1: RED}))
    rises = minute.take().rises
    assert rises[MACHINE, "ExecutionsCompleted"] == 1000
    known = 9 if now_and_then.asked else 10  # the first time it is waited for
    assert rises[pod("red"), "ExecutionsCompleted"] == 100 * known


def test_nothing_is_kept_of_runtimes_that_have_gone() -> None:
    """A machine where pods come and go for a year does not remember each."""
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
def test_any_field_of_an_owner_pools(names: tuple[str, ...], pools: Any) -> None:
    """By namespace, pod or container: holders with equal values are one."""
    minute = Minute(names)
    minute.add(two())
    found = minute.take().values
    wanted = {(pool, "NeuronCoreUtilization"): values for pool, values in pools.items()}
    assert {key: found[key] for key in found if key[1] == "NeuronCoreUtilization"} == wanted


def test_a_holder_without_one_of_the_fields_is_in_no_set_with_it() -> None:
    """An empty string is no dimension: two containers of a pod are not told apart by guessing."""
    minute = Minute(("PodName", "ContainerName"))
    minute.add(two(), Owners(by_core={0: Owner(namespace="ml", pod="red")}))
    assert minute.take().values == {}


def test_dimensions_of_machine_and_holder_stand_as_configured() -> None:
    """A datum has the machine's and the holder's dimensions, and the extra ones, once each."""
    minute = Minute(POD)
    minute.add(two())
    names = ["Namespace", "ClusterName", "PodName"]
    named = resolve(names, Machine(cluster="here", pod_name="exporter-x"), {"Stage": "prod"})
    assert named is not None
    window = minute.take()
    made = datums(window, measure(window, FULL, [named]))
    assert {tuple((d["Name"], d["Value"]) for d in datum["Dimensions"]) for datum in made} == {
        (("Namespace", "ml"), ("ClusterName", "here"), ("PodName", name), ("Stage", "prod"))
        for name in ("red", "blue")
    }


def test_names_of_holders_are_made_legal() -> None:
    """A name that CloudWatch would refuse is sent as it can take it."""
    minute = Minute(("Namespace",))
    minute.add(two(), Owners(by_core={0: Owner(namespace="m\u00fcll\n")}))
    assert (("Namespace", "m?ll"),) in {pool for pool, _ in minute.take().values}
