"""Windows keep value distributions and counter deltas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Health, Owner, Owners, SourceState
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import MAX_OPEN, Windows
from tests.support.datums import at
from tests.support.reports import Harness, cores, ecc, executions, report, runtime

MINUTE = 60.0
START = 1_700_000_040.0
STANDARD, _ = select_for_cloudwatch("standard", [], [])
FULL, _ = select_for_cloudwatch("full", [], [])


class Minute:
    """A window of a minute that the test fills."""

    def __init__(self, selection: Any = STANDARD, **harness: Any) -> None:
        self.windows = Windows(selection, MINUTE)
        self.harness = Harness(**harness)
        self._seconds = 0.0

    def add(self, document: Any, after: float = 5) -> None:
        """Add a report."""
        self.windows.add(at(self.harness.collect(document).snapshot, START + self._seconds))
        self._seconds += after

    def take(self) -> Any:
        """Return the window."""
        (window,) = self.windows.take(START + MINUTE)
        return window


@pytest.mark.parametrize("wall", [START, START + 0.001, START + 59.999])
def test_windows_are_aligned(wall: float) -> None:
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Harness().collect(report()).snapshot, wall))
    (window,) = windows.take(START + MINUTE)
    assert window.start == START
    assert START % MINUTE == 0


def test_each_core_adds_one_value_per_report() -> None:
    minute = Minute()
    minute.add(report(runtime(neuroncore_counters=cores(_0=50, _1=25))))
    minute.add(report(runtime(neuroncore_counters=cores(_0=50, _1=75))))
    assert minute.take().values[MACHINE_POOL, "NeuronCoreUtilization"] == {
        0.5: 2,
        0.25: 1,
        0.75: 1,
        0.0: 4,
    }


def test_absent_values_are_not_counted() -> None:
    minute = Minute()
    minute.add(report(runtime(neuroncore_counters=cores(_0=50)), runtime(2, "b")))
    assert minute.take().values[MACHINE_POOL, "NeuronCoreUtilization"] == {0.5: 1}


def test_counter_delta_is_summed_over_window() -> None:
    minute = Minute()
    for completed in (3, 0, 4):
        stats = executions(completed, timed_out=1, completed_with_err=2)
        minute.add(report(runtime(execution_stats=stats)))
    window = minute.take()
    assert window.deltas[MACHINE_POOL, "ExecutionsCompleted"] == 7
    assert window.deltas[MACHINE_POOL, "ExecutionErrors"] == 9


def test_windows_have_separate_deltas() -> None:
    windows, harness = Windows(STANDARD, MINUTE), Harness()
    for number in range(24):
        stats = executions(number)
        snapshot = harness.collect(report(runtime(execution_stats=stats))).snapshot
        windows.add(at(snapshot, START + 5 * number))
    first, second = windows.take(START + 2 * MINUTE)
    assert first.deltas[MACHINE_POOL, "ExecutionsCompleted"] == sum(range(12))
    assert second.deltas[MACHINE_POOL, "ExecutionsCompleted"] == sum(range(12, 24))


def test_metrics_may_share_counters() -> None:
    minute = Minute(FULL)
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=1))))
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=2)), runtime(2, "b")))
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=4))))
    deltas = minute.take().deltas
    assert (
        deltas[MACHINE_POOL, "ExecutionsTimedOut"] == deltas[MACHINE_POOL, "ExecutionErrors"] == 7
    )
    assert deltas[MACHINE_POOL, "ExecutionsCompleted"] == 3


def test_first_ecc_reading_is_a_baseline() -> None:
    minute = Minute()
    for reading in (864, 864, 866):
        minute.add(
            report(system_data={"neuron_hw_counters": ecc({"mem_ecc_uncorrected": reading})})
        )
    assert minute.take().deltas[MACHINE_POOL, "EccUncorrected"] == 2


@pytest.mark.parametrize(
    "first", [ecc({"mem_ecc_uncorrected": 9}, error="busy"), {"neuron_devices": [None]}, None]
)
def test_late_first_ecc_reading_is_a_baseline(first: Any) -> None:
    minute = Minute()
    late = ecc({"mem_ecc_uncorrected": 7}, {"mem_ecc_uncorrected": 0})
    minute.add(report(system_data={"neuron_hw_counters": first}))
    minute.add(report(system_data={"neuron_hw_counters": late}))
    minute.add(report(system_data={"neuron_hw_counters": late}))
    assert minute.take().deltas[MACHINE_POOL, "EccUncorrected"] == 0


def test_device_events_survive_owner_changes() -> None:
    minute = Minute()
    for number, reading in enumerate((0, 5, 5, 5, 7)):
        owner = Owner(namespace="ml", pod=f"pod-{number}")
        document = report(
            system_data={"neuron_hw_counters": ecc({"mem_ecc_uncorrected": reading}, {})}
        )
        snapshot = minute.harness.collect(document, owners=Owners(by_device={0: owner})).snapshot
        minute.windows.add(at(snapshot, START + number))
    assert minute.take().deltas[MACHINE_POOL, "EccUncorrected"] == 7
    assert len(minute.windows._remembered) == 0


def test_absent_ecc_counts_its_delta_once() -> None:
    minute = Minute()
    for readings in ({"sram_ecc_uncorrected": 1}, None, {"sram_ecc_uncorrected": 4}):
        system = {"neuron_hw_counters": ecc(readings)} if readings else {}
        minute.add(report(system_data=system))
    assert minute.take().deltas[MACHINE_POOL, "EccUncorrected"] == 3


def test_latency_is_weighted_by_executions() -> None:
    minute = Minute()
    minute.add(
        report(
            runtime(1, "1", execution_stats=executions(30, {"p50": 1.0})),
            runtime(2, "1", execution_stats=executions(10, {"p50": 2.0})),
        )
    )
    assert minute.take().values[MACHINE_POOL, "ExecutionLatency"] == {1.0: 30, 2.0: 10}


def test_empty_window_is_returned_once() -> None:
    minute = Minute()
    minute.add(report())
    assert [w.start for w in minute.windows.take(START + MINUTE)] == [START]
    (empty,) = minute.windows.take(START + 2 * MINUTE)
    assert empty.start == START + MINUTE
    assert empty.values == empty.deltas == {}


@pytest.mark.parametrize(
    ("age", "state", "alive"),
    [
        (1, SourceState.OK, True),
        (14, SourceState.OK, True),
        (16, SourceState.OK, False),
        (1, SourceState.NO_DRIVER, False),
    ],
)
def test_source_is_judged_at_window_end(age: float, state: SourceState, alive: bool) -> None:
    snapshot = replace(Harness().collect(report()).snapshot, health=Health(state))
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(snapshot, START + MINUTE - age))
    (window,) = windows.take(START + MINUTE)
    assert window.alive(START + MINUTE) is alive


def test_slow_source_stays_alive_between_reports() -> None:
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Harness(period=600).collect(report()).snapshot, START))
    windows.take(START + MINUTE)
    (window,) = windows.take(START + 2 * MINUTE)
    assert window.alive(START + 2 * MINUTE)


@pytest.mark.parametrize("every", [2, 5])
def test_late_taken_windows_are_judged_at_their_end(every: int) -> None:
    windows, harness = Windows(STANDARD, MINUTE), Harness(period=every * MINUTE)
    taken = []
    for minute in range(20):
        if minute % every == 0:
            snapshot = harness.collect(report()).snapshot
            windows.add(at(snapshot, START + minute * MINUTE + 10))
        if minute:  # later in the minute, as with the sending spread over a fleet
            taken += windows.take(START + minute * MINUTE)
    assert [w.start for w in taken] == [START + minute * MINUTE for minute in range(19)]
    assert all(w.alive(w.start + MINUTE) for w in taken)


def test_windows_of_an_outage_stay_dead() -> None:
    windows, harness = Windows(STANDARD, MINUTE), Harness(period=30)
    windows.add(at(harness.collect(report()).snapshot, START + 5))
    windows.add(at(harness.collect(report()).snapshot, START + 10 * MINUTE + 5))
    taken = windows.take(START + 10 * MINUTE)
    assert [(w.start, w.alive(w.start + MINUTE)) for w in taken] == [
        (START, True),
        (START + 9 * MINUTE, False),
    ]


def test_later_report_does_not_revive_window() -> None:
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Harness().collect(report()).snapshot, START + MINUTE + 1))
    (window,) = windows.take(START + MINUTE)
    assert not window.alive(START + MINUTE)


def test_untaken_windows_are_bounded() -> None:
    windows, snapshot = Windows(STANDARD, MINUTE), Harness().collect(report()).snapshot
    for number in range(3 * MAX_OPEN):
        windows.add(at(snapshot, START + number * MINUTE))
    taken = windows.take(START + 3 * MAX_OPEN * MINUTE)
    assert len(taken) == MAX_OPEN
    assert taken[-1].start == START + (3 * MAX_OPEN - 1) * MINUTE
