"""Reselection while windows are open: counters have no gaps and count nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from neuron_exporter.model import Owner, Owners, Selection, Snapshot, Timestamp
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL, WHOLE_MACHINE
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from tests.support.reports import Harness, ecc, executions, report, runtime
from tests.support.selections import BOTH, COMPLETED, select_only

MINUTE = 60.0
START = 1_700_000_040.0
ECC = select_only("EccUncorrected")


class Stream:
    """Reports at intervals of a second, with a collector whose rows the test selects."""

    def __init__(self, selection: Selection) -> None:
        self.windows = Windows(selection, MINUTE)
        self.harness = Harness()
        self.seconds = 0.0

    def collect(self, *selections: Selection) -> None:
        """Collect only the rows of these selections."""
        rows = dict.fromkeys(row for each in selections for row in each.rows)
        self.harness.collector.set_rows(rows)

    def report(self, completed: int = 0, *, failed: int = 0, **more: Any) -> Snapshot:
        """Return a snapshot of a report with so many executions."""
        self.seconds += 1
        stats = executions(completed, timed_out=failed)
        document = report(*more.pop("runtimes", [runtime(execution_stats=stats)]), **more)
        snapshot = self.harness.collect(document, owners=Owners(by_pid={100: POD})).snapshot
        return replace(snapshot, taken_at=Timestamp(START + self.seconds, self.seconds))

    def add(self, completed: int = 0, **more: Any) -> None:
        """Add such a report to the windows."""
        self.windows.add(self.report(completed, **more))

    def reselect(self, selection: Selection, holders: Any = WHOLE_MACHINE) -> None:
        """Collect for another selection."""
        self.windows.reselect(selection, holders, self.seconds + 0.5)

    def take(self) -> Window:
        """Return the window."""
        (window,) = self.windows.take(START + MINUTE)
        return window


POD = Owner(namespace="ml", pod="a")


def test_kept_counter_has_no_gap() -> None:
    stream = Stream(COMPLETED)
    stream.add(3)
    stream.reselect(BOTH)
    stream.add(4)
    stream.reselect(COMPLETED)
    stream.add(5)
    assert stream.take().deltas[MACHINE_POOL, "ExecutionsCompleted"] == 12


def test_new_counter_starts_at_present_value() -> None:
    stream = Stream(COMPLETED)
    stream.add(3, failed=100)
    stream.add(3, failed=10)
    stream.reselect(BOTH)
    stream.add(4, failed=2)
    window = stream.take()
    assert window.deltas[MACHINE_POOL, "ExecutionErrors"] == 2
    assert window.deltas[MACHINE_POOL, "ExecutionsCompleted"] == 10


def test_uncollected_row_starts_at_first_value() -> None:
    stream = Stream(ECC)
    stream.collect(ECC)
    stream.add(5)
    on_its_way = stream.report(7)
    stream.collect(COMPLETED, ECC)
    stream.reselect(COMPLETED)
    stream.windows.add(on_its_way)
    stream.add(100)
    stream.add(4)
    assert stream.take().deltas[MACHINE_POOL, "ExecutionsCompleted"] == 4


def test_runtime_started_after_change_counts_fully() -> None:
    stream = Stream(ECC)
    selection = select_only("ExecutionsCompleted", per_owner=True)
    stream.add(runtimes=[])
    stream.reselect(selection, [(), ("Namespace", "PodName")])
    stream.add(runtimes=[])
    stream.add(8)
    window = stream.take()
    assert window.deltas[(("Namespace", "ml"), ("PodName", "a")), "ExecutionsCompleted"] == 8
    assert window.deltas[MACHINE_POOL, "ExecutionsCompleted"] == 8


def test_collected_row_counts_new_runtime_fully() -> None:
    stream = Stream(ECC)
    stream.add(runtimes=[runtime(7, "other", execution_stats=executions(5))])
    stream.reselect(select_only("ExecutionsCompleted", per_owner=True), [("Namespace", "PodName")])
    stream.add(8)
    pool = (("Namespace", "ml"), ("PodName", "a"))
    assert stream.take().deltas[pool, "ExecutionsCompleted"] == 8


def test_reselected_counter_skips_the_gap() -> None:
    stream = Stream(BOTH)
    stream.add(3, failed=1)
    stream.reselect(COMPLETED)
    stream.add(3, failed=50)
    stream.reselect(BOTH)
    stream.add(3, failed=2)
    window = stream.take()
    assert window.deltas[MACHINE_POOL, "ExecutionErrors"] == 3
    assert stream.windows._remembered == {}


def test_absent_counter_continues_after_change() -> None:
    stream = Stream(ECC)
    system = {"system_data": {"neuron_hw_counters": ecc({"mem_ecc_uncorrected": 2})}}
    more = {"system_data": {"neuron_hw_counters": ecc({"mem_ecc_uncorrected": 7})}}
    stream.add(**system)
    stream.add(system_data={})
    stream.reselect(select_only("EccUncorrected", "ExecutionErrors"))
    stream.add(**more)
    assert stream.take().deltas[MACHINE_POOL, "EccUncorrected"] == 5
