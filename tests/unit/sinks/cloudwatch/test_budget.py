"""The budget: a hard number, dropped by the metric, the finest first, without flapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.sinks.cloudwatch.budget import HOUR, REMEMBERED_HOURS, Budget, kept
from neuron_exporter.sinks.cloudwatch.datums import Measured
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions
from neuron_exporter.sinks.cloudwatch.settings import Settings

STANDARD, _ = for_cloudwatch("standard", [], [])
FULL, _ = for_cloudwatch("full", [], [])
METRICS = {metric.name: metric for row in FULL.rows for metric in row.cloudwatch}
NAMES = [m.name for row in STANDARD.rows for m in row.cloudwatch if m.name in STANDARD.names]

MACHINE = ("InstanceId",)
FLEET = ("ClusterName",)
POD = ("Namespace", "PodName")
NOON = 1_700_000_000 // HOUR * HOUR


def measured(
    names: tuple[str, ...], metrics: Iterable[str] = NAMES, values: Iterable[str] = ("x",)
) -> list[Measured]:
    """Each of these metrics once for each of these values of the set's last dimension."""
    return [
        Measured(names, METRICS[metric], dimensions(names, value), [{"Value": 1.0}])
        for value in values
        for metric in metrics
    ]


def dimensions(names: tuple[str, ...], value: str) -> Dimensions:
    """A set's dimensions, all but the last of which are the same for all."""
    return (*((name, "same") for name in names[:-1]), (names[-1], value))


def budget(
    limit: int | None, *sets: tuple[str, ...], keep: Iterable[str] = (), of: Any = STANDARD
) -> Budget:
    """A budget for these sets."""
    settings = Settings(
        namespace="N",
        region=None,
        interval=60.0,
        dimension_sets=sets,
        limit=limit,
        keep=tuple(keep),
    )
    return Budget(settings, of)


def names_by_set(admitted: Iterable[Measured]) -> dict[tuple[str, ...], set[str]]:
    """The names that were admitted in each set."""
    found: dict[tuple[str, ...], set[str]] = {}
    for each in admitted:
        found.setdefault(each.names, set()).add(each.metric.name)
    return found


def test_what_fits_is_published() -> None:
    """A budget of exactly what is wanted drops nothing, and says so."""
    spent = budget(20, MACHINE, FLEET)
    wanted = measured(MACHINE) + measured(FLEET)
    assert spent.admit(wanted, NOON) == wanted
    assert spent.spending.wanted == 20
    assert spent.spending.lost == 0


def test_without_a_limit_all_is_published_and_counted() -> None:
    """Who has no budget learns what is wanted all the same."""
    spent = budget(None, MACHINE)
    wanted = measured(MACHINE, values=map(str, range(50)))
    assert spent.admit(wanted, NOON) == wanted
    assert spent.spending.wanted == 500


def test_the_finest_set_is_dropped_first() -> None:
    """Holders go before machines, machines before the fleet, whatever the order of the sets."""
    for sets in ([FLEET, MACHINE, POD], [POD, MACHINE, FLEET]):
        pods = measured(POD, [name for name in NAMES if name != "ExporterHeartbeat"], "ab")
        wanted = measured(FLEET) + measured(MACHINE) + pods
        over = budget(20, *sets)
        assert names_by_set(over.admit(wanted, NOON)).keys() == {FLEET, MACHINE}
        well_over = budget(11, *sets)
        assert names_by_set(well_over.admit(wanted, NOON)) == {
            FLEET: set(NAMES),
            MACHINE: {"ExporterHeartbeat"},
        }


def test_in_a_set_the_least_important_goes_first() -> None:
    """What the minimal preset has stays longest, then what the standard one has."""
    spent = budget(12, MACHINE, of=FULL)
    left = names_by_set(spent.admit(measured(MACHINE, METRICS), NOON))[MACHINE]
    assert left > set(NAMES)
    minimal, _ = for_cloudwatch("minimal", [], [])
    left = names_by_set(budget(4, MACHINE, of=FULL).admit(measured(MACHINE, METRICS), NOON))
    assert left == {MACHINE: set(minimal.names)}


def test_what_is_kept_is_never_dropped() -> None:
    """The heartbeat, and what the user names by a glob, stay in every set."""
    keep = ["ExecutionL*"]
    assert kept(STANDARD, keep) == {"ExporterHeartbeat", "ExecutionLatency"}
    spent = budget(4, MACHINE, FLEET, keep=keep)
    left = names_by_set(spent.admit(measured(MACHINE) + measured(FLEET), NOON))
    both = {"ExporterHeartbeat", "ExecutionLatency"}
    assert left == {MACHINE: both, FLEET: both}


def test_a_metric_is_dropped_with_all_its_holders() -> None:
    """What is dropped is a metric in a set: no pod has what another lacks."""
    spent = budget(45, MACHINE, POD)
    names = [name for name in NAMES if name not in kept(STANDARD, [])]
    admitted = spent.admit(measured(MACHINE) + measured(POD, names, "abcde"), NOON)
    by_name = Counter(each.metric.name for each in admitted if each.names == POD)
    assert set(by_name.values()) == {5}
    assert len(admitted) == 10 + 7 * 5
    assert spent.spending.lost == 10
    assert spent.spending.wanted == 10 + 45


def test_what_was_dropped_stays_so_for_a_day() -> None:
    """A peak drops metrics until it is a day old: metrics that come and go make useless graphs."""
    spent = budget(20, MACHINE, POD)
    names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    few, many = measured(POD, names, "abc"), measured(POD, names, "abcdefgh")
    assert len(spent.admit(measured(MACHINE) + few, NOON)) == 16
    spent.admit(measured(MACHINE) + many, NOON + HOUR)
    for hour in range(1, REMEMBERED_HOURS):
        admitted = spent.admit(measured(MACHINE) + few, NOON + (1 + hour) * HOUR)
        assert names_by_set(admitted)[POD] == {"NeuronCoreUtilization"}
    later = spent.admit(measured(MACHINE) + few, NOON + (2 + REMEMBERED_HOURS) * HOUR)
    assert len(later) == 16
    assert spent.spending.lost == 0


def test_a_pod_more_costs_nothing_more_within_the_hour() -> None:
    """What was billed for this hour cannot be taken back, so nothing new is begun in it; the next
    hour has room for it."""
    spent = budget(20, MACHINE, POD)
    names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    before = spent.admit(measured(MACHINE) + measured(POD, names, "abcde"), NOON)
    assert len(before) == 20
    more = measured(MACHINE) + measured(POD, names, "abcdef")
    after = spent.admit(more, NOON + 60)
    billed = {(each.metric.name, each.dimensions) for each in (*before, *after)}
    assert len(billed) == 20
    assert spent.spending.waiting == 1
    next_hour = spent.admit(more, NOON + HOUR)
    assert len(next_hour) == 10 + 6
    assert spent.spending.waiting == 0


@given(
    st.integers(6, 60),
    st.lists(
        st.tuples(st.integers(0, 5400), st.integers(0, 3), st.integers(0, 12)),
        min_size=1,
        max_size=20,
    ),
)
def test_no_hour_has_more_than_the_limit(limit: int, steps: list[tuple[int, int, int]]) -> None:
    """Whatever comes and goes: in each clock hour at most so many different metrics are published,
    and the heartbeat always is."""
    spent = budget(limit, MACHINE, FLEET, POD)
    now = NOON
    billed: dict[float, set[Any]] = {}
    for pause, first, pods in steps:
        now += pause
        values = [str(number) for number in range(first, first + pods)]
        names = [name for name in NAMES if name != "ExporterHeartbeat"]
        wanted = measured(MACHINE) + measured(FLEET) + measured(POD, names, values)
        admitted = spent.admit(wanted, now)
        this_hour = billed.setdefault(now // HOUR, set())
        this_hour |= {(each.metric.name, each.dimensions) for each in admitted}
        beats = [each for each in admitted if each.metric.name == "ExporterHeartbeat"]
        assert len(beats) == 2
        if spent.spending.wanted <= limit:
            assert spent.spending.dropped == {}
    assert max(map(len, billed.values())) <= limit


def test_what_the_machine_tells_late_has_its_place() -> None:
    """In the first hour, finer sets leave room for what comes when something has run; nothing waits
    for an hour beside what is dropped a minute later."""
    spent = budget(24, MACHINE, POD)
    late = {"HostCpuUtilization", "ExecutionLatency"}
    early = [name for name in NAMES if name not in late]
    pods = measured(POD, ["NeuronCoreUtilization", "NeuronCoresInUse"], "abcdefgh")
    first = spent.admit(measured(MACHINE, early) + pods, NOON)
    second = spent.admit(measured(MACHINE) + pods, NOON + 60)
    assert names_by_set(second)[MACHINE] == set(NAMES)
    assert names_by_set(first)[POD] == names_by_set(second)[POD] == {"NeuronCoreUtilization"}
    assert spent.spending.waiting == 0


def test_what_is_kept_beyond_the_limit_is_told() -> None:
    """The user kept more than the budget holds: it is published, and said."""
    spent = budget(12, MACHINE, POD, keep=["NeuronCore*"])
    kept_names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    admitted = spent.admit(measured(MACHINE) + measured(POD, kept_names, "abcdefgh"), NOON)
    assert len(admitted) == 3 + 16
    assert spent.spending.exceeded
    assert spent.spending.published == 19


def test_a_clock_that_steps_back_forgets_the_hours_ahead() -> None:
    """Hours of a wrong clock hold no metric back."""
    spent = budget(12, MACHINE, POD)
    names = ["NeuronCoreUtilization"]
    spent.admit(measured(MACHINE) + measured(POD, names, "abcdefgh"), NOON + 100 * HOUR)
    admitted = spent.admit(measured(MACHINE) + measured(POD, names, "ab"), NOON)
    assert len(admitted) == 12


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (19, ["HostMemoryUtilization in [InstanceId]"]),
        (18, ["HostMemoryUtilization, HostCpuUtilization in [InstanceId]"]),
    ],
)
def test_what_is_dropped_is_told_by_set(limit: int, told: list[str]) -> None:
    """People read which metrics are missing, and where."""
    spent = budget(limit, MACHINE, FLEET)
    spent.admit(measured(MACHINE) + measured(FLEET), NOON)
    assert spent.spending.told() == told
