"""Readings gather in windows; percentiles and sums survive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Health, Moment, Owner, Owners, Snapshot, SourceState
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE
from neuron_exporter.sinks.cloudwatch.window import MOST_OPEN, Windows
from tests.support.reports import Bench, cores, ecc, executions, report, runtime

MINUTE = 60.0
START = 1_700_000_040.0
STANDARD, _ = for_cloudwatch("standard", [], [])
FULL, _ = for_cloudwatch("full", [], [])


def at(snapshot: Snapshot, wall: float) -> Snapshot:
    """The snapshot, taken at another moment."""
    return replace(snapshot, taken_at=Moment(wall, wall))


class Minute:
    """A window of a minute, filled by hand."""

    def __init__(self, selection: Any = STANDARD, **bench: Any) -> None:
        self.windows = Windows(selection, MINUTE)
        self.bench = Bench(**bench)
        self._seconds = 0.0

    def add(self, document: Any, after: float = 5) -> None:
        """Add a report."""
        self.windows.add(at(self.bench.collect(document).snapshot, START + self._seconds))
        self._seconds += after

    def take(self) -> Any:
        """The window."""
        (window,) = self.windows.take(START + MINUTE)
        return window


@pytest.mark.parametrize("wall", [START, START + 0.001, START + 59.999])
def test_windows_are_aligned_to_the_wall_clock(wall: float) -> None:
    """A window begins at a whole minute, wherever in it the exporter started."""
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Bench().collect(report()).snapshot, wall))
    (window,) = windows.take(START + MINUTE)
    assert window.start == START
    assert START % MINUTE == 0


def test_every_core_gives_one_value_a_reading() -> None:
    """The distribution over cores and reports is kept, with how often each value came."""
    minute = Minute()
    minute.add(report(runtime(neuroncore_counters=cores(_0=50, _1=25))))
    minute.add(report(runtime(neuroncore_counters=cores(_0=50, _1=75))))
    assert minute.take().values[MACHINE, "NeuronCoreUtilization"] == {
        0.5: 2,
        0.25: 1,
        0.75: 1,
        0.0: 4,
    }


def test_absent_values_are_no_readings() -> None:
    """A core that was not read leaves no trace in the distribution."""
    minute = Minute()
    minute.add(report(runtime(neuroncore_counters=cores(_0=50)), runtime(2, "b")))
    assert minute.take().values[MACHINE, "NeuronCoreUtilization"] == {0.5: 1}


def test_the_rise_of_counters_is_one_value_an_interval() -> None:
    """Executions of a window sum up to the unit, errors are every status but completed."""
    minute = Minute()
    for completed in (3, 0, 4):
        stats = executions(completed, timed_out=1, completed_with_err=2)
        minute.add(report(runtime(execution_stats=stats)))
    window = minute.take()
    assert window.rises[MACHINE, "ExecutionsCompleted"] == 7
    assert window.rises[MACHINE, "ExecutionErrors"] == 9


def test_nothing_that_happened_before_the_window_is_in_it() -> None:
    """Each window has its own rise; together they are the whole."""
    windows, bench = Windows(STANDARD, MINUTE), Bench()
    for number in range(24):
        stats = executions(number)
        snapshot = bench.collect(report(runtime(execution_stats=stats))).snapshot
        windows.add(at(snapshot, START + 5 * number))
    first, second = windows.take(START + 2 * MINUTE)
    assert first.rises[MACHINE, "ExecutionsCompleted"] == sum(range(12))
    assert second.rises[MACHINE, "ExecutionsCompleted"] == sum(range(12, 24))


def test_counters_that_share_series_do_not_disturb_each_other() -> None:
    """Two metrics of one row count the same rise, also after the shape has changed."""
    minute = Minute(FULL)
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=1))))
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=2)), runtime(2, "b")))
    minute.add(report(runtime(1, "a", execution_stats=executions(1, timed_out=4))))
    rises = minute.take().rises
    assert rises[MACHINE, "ExecutionsTimedOut"] == rises[MACHINE, "ExecutionErrors"] == 7
    assert rises[MACHINE, "ExecutionsCompleted"] == 3


def test_the_first_ecc_reading_is_no_event() -> None:
    """Errors of the past are not reported as if they had just happened."""
    minute = Minute()
    for reading in (864, 864, 866):
        minute.add(
            report(system_data={"neuron_hw_counters": ecc({"mem_ecc_uncorrected": reading})})
        )
    assert minute.take().rises[MACHINE, "EccUncorrected"] == 2


@pytest.mark.parametrize(
    "first", [ecc({"mem_ecc_uncorrected": 9}, error="busy"), {"neuron_devices": [None]}, None]
)
def test_a_first_ecc_reading_that_comes_late_is_no_event(first: Any) -> None:
    """A device that is known before it can be read starts at its first reading, too."""
    minute = Minute()
    late = ecc({"mem_ecc_uncorrected": 7}, {"mem_ecc_uncorrected": 0})
    minute.add(report(system_data={"neuron_hw_counters": first}))
    minute.add(report(system_data={"neuron_hw_counters": late}))
    minute.add(report(system_data={"neuron_hw_counters": late}))
    assert minute.take().rises[MACHINE, "EccUncorrected"] == 0


def test_events_are_counted_once_whoever_holds_the_device() -> None:
    """A device that changes hands has the errors that it had: only new ones are new, and nothing
    of its former owners is kept."""
    minute = Minute()
    for number, reading in enumerate((0, 5, 5, 5, 7)):
        owner = Owner(namespace="ml", pod=f"pod-{number}")
        document = report(
            system_data={"neuron_hw_counters": ecc({"mem_ecc_uncorrected": reading}, {})}
        )
        snapshot = minute.bench.collect(document, owners=Owners(by_device={0: owner})).snapshot
        minute.windows.add(at(snapshot, START + number))
    assert minute.take().rises[MACHINE, "EccUncorrected"] == 7
    assert len(minute.windows._remembered) == 0


def test_ecc_that_is_away_for_a_while_counts_its_rise_once() -> None:
    """A device that was not read in between counts from where it stood."""
    minute = Minute()
    for readings in ({"sram_ecc_uncorrected": 1}, None, {"sram_ecc_uncorrected": 4}):
        system = {"neuron_hw_counters": ecc(readings)} if readings else {}
        minute.add(report(system_data=system))
    assert minute.take().rises[MACHINE, "EccUncorrected"] == 3


def test_a_runtimes_percentiles_weigh_by_what_it_completed() -> None:
    """Latency is pooled over processes, also of those that share a tag."""
    minute = Minute()
    minute.add(
        report(
            runtime(1, "1", execution_stats=executions(30, {"p50": 1.0})),
            runtime(2, "1", execution_stats=executions(10, {"p50": 2.0})),
        )
    )
    assert minute.take().values[MACHINE, "ExecutionLatency"] == {1.0: 30, 2.0: 10}


def test_a_window_without_a_report_is_given_once() -> None:
    """That nothing came is news: an empty window follows a full one, each once."""
    minute = Minute()
    minute.add(report())
    assert [w.start for w in minute.windows.take(START + MINUTE)] == [START]
    (empty,) = minute.windows.take(START + 2 * MINUTE)
    assert empty.start == START + MINUTE
    assert empty.values == empty.rises == {}


@pytest.mark.parametrize(
    ("age", "state", "alive"),
    [
        (1, SourceState.OK, True),
        (14, SourceState.OK, True),
        (16, SourceState.OK, False),
        (1, SourceState.NO_DRIVER, False),
    ],
)
def test_a_window_knows_whether_the_source_lived_at_its_end(
    age: float, state: SourceState, alive: bool
) -> None:
    """A source is dead when its last report is too old at the end, or finds no hardware."""
    snapshot = replace(Bench().collect(report()).snapshot, health=Health(state))
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(snapshot, START + MINUTE - age))
    (window,) = windows.take(START + MINUTE)
    assert window.alive(START + MINUTE) is alive


def test_a_slow_source_lives_through_windows_without_a_report() -> None:
    """With a period of ten minutes, minutes without a report are no outage."""
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Bench(period=600).collect(report()).snapshot, START))
    windows.take(START + MINUTE)
    (window,) = windows.take(START + 2 * MINUTE)
    assert window.alive(START + 2 * MINUTE)


@pytest.mark.parametrize("every", [2, 5])
def test_a_window_that_is_taken_late_knows_what_was_known_at_its_end(every: int) -> None:
    """Windows between the reports of a slow source lived, also when newer reports have come since,
    and each is given once."""
    windows, bench = Windows(STANDARD, MINUTE), Bench(period=every * MINUTE)
    taken = []
    for minute in range(20):
        if minute % every == 0:
            snapshot = bench.collect(report()).snapshot
            windows.add(at(snapshot, START + minute * MINUTE + 10))
        if minute:  # later in the minute, as with the sending spread over a fleet
            taken += windows.take(START + minute * MINUTE)
    assert [w.start for w in taken] == [START + minute * MINUTE for minute in range(19)]
    assert all(w.alive(w.start + MINUTE) for w in taken)


def test_a_window_that_nobody_lived_through_stays_dead() -> None:
    """A report after an outage makes only those windows alive whose end was within its reach."""
    windows, bench = Windows(STANDARD, MINUTE), Bench(period=30)
    windows.add(at(bench.collect(report()).snapshot, START + 5))
    windows.add(at(bench.collect(report()).snapshot, START + 10 * MINUTE + 5))
    taken = windows.take(START + 10 * MINUTE)
    assert [(w.start, w.alive(w.start + MINUTE)) for w in taken] == [
        (START, True),
        (START + 9 * MINUTE, False),
    ]


def test_later_reports_do_not_revive_an_earlier_window() -> None:
    """A window that nobody reported in stays dead, however alive the source is afterwards."""
    windows = Windows(STANDARD, MINUTE)
    windows.add(at(Bench().collect(report()).snapshot, START + MINUTE + 1))
    (window,) = windows.take(START + MINUTE)
    assert not window.alive(START + MINUTE)


def test_windows_that_nobody_takes_are_bounded() -> None:
    """A sink that has died does not make memory grow: the oldest window goes."""
    windows, snapshot = Windows(STANDARD, MINUTE), Bench().collect(report()).snapshot
    for number in range(3 * MOST_OPEN):
        windows.add(at(snapshot, START + number * MINUTE))
    taken = windows.take(START + 3 * MOST_OPEN * MINUTE)
    assert len(taken) == MOST_OPEN
    assert taken[-1].start == START + (3 * MOST_OPEN - 1) * MINUTE
