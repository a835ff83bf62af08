"""Another selection while windows are open: what is counted has neither a gap nor a double."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from neuron_exporter.model import Moment, Owner, Owners, Selection, Snapshot
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE, WHOLE_MACHINE
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import Bench, ecc, executions, report, runtime
from tests.support.selections import BOTH, COMPLETED, only

MINUTE = 60.0
START = 1_700_000_040.0
ECC = only("EccUncorrected")


class Stream:
    """Reports, a second after each other, of which the collector takes what it is told."""

    def __init__(self, selection: Selection) -> None:
        self.windows = Windows(selection, MINUTE)
        self.bench = Bench()
        self.seconds = 0.0

    def collect(self, *selections: Selection) -> None:
        """Collect what these need, and nothing else."""
        rows = dict.fromkeys(row for each in selections for row in each.rows)
        self.bench.collector.choose(rows)

    def report(self, completed: int = 0, *, failed: int = 0, **more: Any) -> Snapshot:
        """A snapshot of a report with so many executions."""
        self.seconds += 1
        stats = executions(completed, timed_out=failed)
        document = report(*more.pop("runtimes", [runtime(execution_stats=stats)]), **more)
        snapshot = self.bench.collect(document, owners=Owners(by_pid={100: POD})).snapshot
        return replace(snapshot, taken_at=Moment(START + self.seconds, self.seconds))

    def add(self, completed: int = 0, **more: Any) -> None:
        """Gather such a report."""
        self.windows.add(self.report(completed, **more))

    def reselect(self, selection: Selection, holders: Any = WHOLE_MACHINE) -> None:
        """Gather for another selection."""
        self.windows.reselect(selection, holders, self.seconds + 0.5)

    def take(self) -> Window:
        """The window."""
        (window,) = self.windows.take(START + MINUTE)
        return window


POD = Owner(namespace="ml", pod="a")


def test_what_was_selected_before_rises_without_a_gap() -> None:
    """A metric that stays counts every report once, whatever comes and goes beside it."""
    stream = Stream(COMPLETED)
    stream.add(3)
    stream.reselect(BOTH)
    stream.add(4)
    stream.reselect(COMPLETED)
    stream.add(5)
    assert stream.take().rises[MACHINE, "ExecutionsCompleted"] == 12


def test_what_is_new_begins_at_its_present_value() -> None:
    """A counter that others have watched for long is not sent as if it had just risen."""
    stream = Stream(COMPLETED)
    stream.add(3, failed=100)
    stream.add(3, failed=10)
    stream.reselect(BOTH)
    stream.add(4, failed=2)
    window = stream.take()
    assert window.rises[MACHINE, "ExecutionErrors"] == 2
    assert window.rises[MACHINE, "ExecutionsCompleted"] == 10


def test_a_row_that_nobody_collected_begins_at_its_first_value() -> None:
    """The machine's totals are counted whatever is shown; what they were before is the past. A
    snapshot that was on its way when the rows changed begins nothing too early."""
    stream = Stream(ECC)
    stream.collect(ECC)
    stream.add(5)
    on_its_way = stream.report(7)
    stream.collect(COMPLETED, ECC)
    stream.reselect(COMPLETED)
    stream.windows.add(on_its_way)
    stream.add(100)
    stream.add(4)
    assert stream.take().rises[MACHINE, "ExecutionsCompleted"] == 4


def test_what_begins_after_the_change_counts_from_its_first_report() -> None:
    """A runtime that comes when its metric is selected already is counted whole."""
    stream = Stream(ECC)
    selection = only("ExecutionsCompleted", per_owner=True)
    stream.add(runtimes=[])
    stream.reselect(selection, [(), ("Namespace", "PodName")])
    stream.add(runtimes=[])
    stream.add(8)
    window = stream.take()
    assert window.rises[(("Namespace", "ml"), ("PodName", "a")), "ExecutionsCompleted"] == 8
    assert window.rises[MACHINE, "ExecutionsCompleted"] == 8


def test_what_begins_right_after_the_change_is_counted_where_it_was_collected_before() -> None:
    """What another sink has been shown all along has no past when it comes with the next report."""
    stream = Stream(ECC)
    stream.add(runtimes=[runtime(7, "other", execution_stats=executions(5))])
    stream.reselect(only("ExecutionsCompleted", per_owner=True), [("Namespace", "PodName")])
    stream.add(8)
    pool = (("Namespace", "ml"), ("PodName", "a"))
    assert stream.take().rises[pool, "ExecutionsCompleted"] == 8


def test_what_comes_back_has_not_counted_meanwhile() -> None:
    """A metric that was taken away and selected again does not send what was in between."""
    stream = Stream(BOTH)
    stream.add(3, failed=1)
    stream.reselect(COMPLETED)
    stream.add(3, failed=50)
    stream.reselect(BOTH)
    stream.add(3, failed=2)
    window = stream.take()
    assert window.rises[MACHINE, "ExecutionErrors"] == 3
    assert stream.windows._remembered == {}


def test_a_device_that_is_away_during_the_change_goes_on() -> None:
    """What a counter stood at is kept through a change, too, where it is still selected."""
    stream = Stream(ECC)
    system = {"system_data": {"neuron_hw_counters": ecc({"mem_ecc_uncorrected": 2})}}
    more = {"system_data": {"neuron_hw_counters": ecc({"mem_ecc_uncorrected": 7})}}
    stream.add(**system)
    stream.add(system_data={})
    stream.reselect(only("EccUncorrected", "ExecutionErrors"))
    stream.add(**more)
    assert stream.take().rises[MACHINE, "EccUncorrected"] == 5
