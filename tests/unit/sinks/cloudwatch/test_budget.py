"""The budget is a hard limit that suppresses whole metrics, the finest first, without flapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.sinks.cloudwatch import budget as budget_module
from neuron_exporter.sinks.cloudwatch.budget import (
    HOUR,
    REMEMBERED_HOURS,
    Budget,
    preview,
    protected_names,
)
from neuron_exporter.sinks.cloudwatch.datums import MetricValues
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings

STANDARD, _ = select_for_cloudwatch("standard", [], [])
FULL, _ = select_for_cloudwatch("full", [], [])
METRICS = {metric.name: metric for row in FULL.rows for metric in row.cloudwatch}
NAMES = [m.name for row in STANDARD.rows for m in row.cloudwatch if m.name in STANDARD.names]

MACHINE = ("InstanceId",)
FLEET = ("ClusterName",)
POD = ("Namespace", "PodName")
NOON = 1_700_000_000 // HOUR * HOUR


def metrics(
    names: tuple[str, ...], metric_names: Iterable[str] = NAMES, values: Iterable[str] = ("x",)
) -> list[MetricValues]:
    """Return each of these metrics for each of these values of the set's last dimension."""
    return [
        MetricValues(names, METRICS[metric], dimensions(names, value), [{"Value": 1.0}])
        for value in values
        for metric in metric_names
    ]


def dimensions(names: tuple[str, ...], value: str) -> Dimensions:
    """Return a set's dimensions, of which only the last has this value."""
    return (*((name, "same") for name in names[:-1]), (names[-1], value))


def budget(
    limit: int | None, *sets: tuple[str, ...], keep: Iterable[str] = (), of: Any = STANDARD
) -> Budget:
    """Return a budget for these sets."""
    settings = SinkSettings(
        namespace="N",
        region=None,
        interval=60.0,
        dimension_sets=sets,
        metric_limit=limit,
        keep=tuple(keep),
    )
    return Budget(settings, of)


def names_by_set(admitted: Iterable[MetricValues]) -> dict[tuple[str, ...], set[str]]:
    """Return the admitted names of each set."""
    found: dict[tuple[str, ...], set[str]] = {}
    for each in admitted:
        found.setdefault(each.names, set()).add(each.metric.name)
    return found


def test_metrics_within_limit_are_published() -> None:
    limited = budget(20, MACHINE, FLEET)
    wanted = metrics(MACHINE) + metrics(FLEET)
    assert limited.admit(wanted, NOON) == wanted
    assert limited.status.wanted == 20
    assert limited.status.suppressed == 0


def test_no_limit_publishes_and_counts_all() -> None:
    limited = budget(None, MACHINE)
    wanted = metrics(MACHINE, values=map(str, range(50)))
    assert limited.admit(wanted, NOON) == wanted
    assert limited.status.wanted == 500


def test_finest_set_is_suppressed_first() -> None:
    for sets in ([FLEET, MACHINE, POD], [POD, MACHINE, FLEET]):
        pods = metrics(POD, [name for name in NAMES if name != "ExporterHeartbeat"], "ab")
        wanted = metrics(FLEET) + metrics(MACHINE) + pods
        over = budget(20, *sets)
        assert names_by_set(over.admit(wanted, NOON)).keys() == {FLEET, MACHINE}
        well_over = budget(11, *sets)
        assert names_by_set(well_over.admit(wanted, NOON)) == {
            FLEET: set(NAMES),
            MACHINE: {"ExporterHeartbeat"},
        }


def test_set_with_fixed_instance_id_is_as_coarse_as_others() -> None:
    """Its metrics are shared by the fleet, so that the set with more dimensions is finer."""
    sets = [["InstanceId"], ["InstanceType", "Region"]]
    settings = SinkSettings(
        namespace="N",
        region=None,
        interval=60.0,
        dimension_sets=sets,
        extra_dimensions={"InstanceId": "foo"},
        metric_limit=11,
    )
    suppressed = preview(settings, STANDARD).suppressed_items
    assert {names for names, _ in suppressed} == {("InstanceType", "Region")}


def test_number_of_counted_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "MAX_COUNTED", 3)
    limited = budget(None, POD)
    for number in range(10):
        limited.admit(metrics(POD, NAMES[:1], [f"pod-{number}"]), NOON)
    assert limited.status.wanted == 3


def test_least_important_metric_is_suppressed_first() -> None:
    limited = budget(12, MACHINE, of=FULL)
    left = names_by_set(limited.admit(metrics(MACHINE, METRICS), NOON))[MACHINE]
    assert left > set(NAMES)
    minimal, _ = select_for_cloudwatch("minimal", [], [])
    left = names_by_set(budget(4, MACHINE, of=FULL).admit(metrics(MACHINE, METRICS), NOON))
    assert left == {MACHINE: set(minimal.names)}


def test_protected_metrics_are_never_suppressed() -> None:
    keep = ["ExecutionL*"]
    assert protected_names(STANDARD, keep) == {"ExporterHeartbeat", "ExecutionLatency"}
    limited = budget(4, MACHINE, FLEET, keep=keep)
    left = names_by_set(limited.admit(metrics(MACHINE) + metrics(FLEET), NOON))
    both = {"ExporterHeartbeat", "ExecutionLatency"}
    assert left == {MACHINE: both, FLEET: both}


def test_metric_is_suppressed_for_all_owners() -> None:
    limited = budget(45, MACHINE, POD)
    names = [name for name in NAMES if name not in protected_names(STANDARD, [])]
    admitted = limited.admit(metrics(MACHINE) + metrics(POD, names, "abcde"), NOON)
    by_name = Counter(each.metric.name for each in admitted if each.names == POD)
    assert set(by_name.values()) == {5}
    assert len(admitted) == 10 + 7 * 5
    assert limited.status.suppressed == 10
    assert limited.status.wanted == 10 + 45


def test_suppression_lasts_a_day() -> None:
    limited = budget(20, MACHINE, POD)
    names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    few, many = metrics(POD, names, "abc"), metrics(POD, names, "abcdefgh")
    assert len(limited.admit(metrics(MACHINE) + few, NOON)) == 16
    limited.admit(metrics(MACHINE) + many, NOON + HOUR)
    for hour in range(1, REMEMBERED_HOURS):
        admitted = limited.admit(metrics(MACHINE) + few, NOON + (1 + hour) * HOUR)
        assert names_by_set(admitted)[POD] == {"NeuronCoreUtilization"}
    later = limited.admit(metrics(MACHINE) + few, NOON + (2 + REMEMBERED_HOURS) * HOUR)
    assert len(later) == 16
    assert limited.status.suppressed == 0


def test_new_pod_is_deferred_to_next_hour() -> None:
    limited = budget(20, MACHINE, POD)
    names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    before = limited.admit(metrics(MACHINE) + metrics(POD, names, "abcde"), NOON)
    assert len(before) == 20
    more = metrics(MACHINE) + metrics(POD, names, "abcdef")
    after = limited.admit(more, NOON + 60)
    billed = {(each.metric.name, each.dimensions) for each in (*before, *after)}
    assert len(billed) == 20
    assert limited.status.deferred == 1
    next_hour = limited.admit(more, NOON + HOUR)
    assert len(next_hour) == 10 + 6
    assert limited.status.deferred == 0


@given(
    st.integers(6, 60),
    st.lists(
        st.tuples(st.integers(0, 5400), st.integers(0, 3), st.integers(0, 12)),
        min_size=1,
        max_size=20,
    ),
)
def test_no_hour_exceeds_the_limit(limit: int, steps: list[tuple[int, int, int]]) -> None:
    limited = budget(limit, MACHINE, FLEET, POD)
    now = NOON
    billed: dict[float, set[Any]] = {}
    for pause, first, pods in steps:
        now += pause
        values = [str(number) for number in range(first, first + pods)]
        names = [name for name in NAMES if name != "ExporterHeartbeat"]
        wanted = metrics(MACHINE) + metrics(FLEET) + metrics(POD, names, values)
        admitted = limited.admit(wanted, now)
        this_hour = billed.setdefault(now // HOUR, set())
        this_hour |= {(each.metric.name, each.dimensions) for each in admitted}
        beats = [each for each in admitted if each.metric.name == "ExporterHeartbeat"]
        assert len(beats) == 2
        if limited.status.wanted <= limit:
            assert limited.status.suppressed_items == {}
    assert max(map(len, billed.values())) <= limit


def test_first_hour_reserves_room_for_machine_metrics() -> None:
    limited = budget(24, MACHINE, POD)
    late = {"HostCpuUtilization", "ExecutionLatency"}
    early = [name for name in NAMES if name not in late]
    pods = metrics(POD, ["NeuronCoreUtilization", "NeuronCoresInUse"], "abcdefgh")
    first = limited.admit(metrics(MACHINE, early) + pods, NOON)
    second = limited.admit(metrics(MACHINE) + pods, NOON + 60)
    assert names_by_set(second)[MACHINE] == set(NAMES)
    assert names_by_set(first)[POD] == names_by_set(second)[POD] == {"NeuronCoreUtilization"}
    assert limited.status.deferred == 0


def test_protected_metrics_may_exceed_the_limit() -> None:
    limited = budget(12, MACHINE, POD, keep=["NeuronCore*"])
    kept_names = ["NeuronCoreUtilization", "NeuronCoresInUse"]
    admitted = limited.admit(metrics(MACHINE) + metrics(POD, kept_names, "abcdefgh"), NOON)
    assert len(admitted) == 3 + 16
    assert limited.status.exceeded
    assert limited.status.published == 19


def test_clock_set_back_forgets_future_hours() -> None:
    limited = budget(12, MACHINE, POD)
    names = ["NeuronCoreUtilization"]
    limited.admit(metrics(MACHINE) + metrics(POD, names, "abcdefgh"), NOON + 100 * HOUR)
    admitted = limited.admit(metrics(MACHINE) + metrics(POD, names, "ab"), NOON)
    assert len(admitted) == 12


@pytest.mark.parametrize(
    ("limit", "described"),
    [
        (19, ["HostMemoryUtilization in [InstanceId]"]),
        (18, ["HostMemoryUtilization, HostCpuUtilization in [InstanceId]"]),
    ],
)
def test_describe_lists_metrics_by_set(limit: int, described: list[str]) -> None:
    limited = budget(limit, MACHINE, FLEET)
    limited.admit(metrics(MACHINE) + metrics(FLEET), NOON)
    assert limited.status.describe() == described
