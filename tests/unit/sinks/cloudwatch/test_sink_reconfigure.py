"""Other metrics, sets and budgets while the sink sends: each window goes out once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.model import Machine, Moment, Selection
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Bench, executions, report, runtime
from tests.support.selections import BOTH, COMPLETED, FAILED, only

MINUTE = 60.0
START = 1_700_000_040.0


class Line:
    """A transport that keeps what it is sent."""

    def __init__(self) -> None:
        self.datums: list[Datum] = []

    def send(self, _: str, datums: list[Datum]) -> Outcome:
        """Take it."""
        self.datums += datums
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""

    def sums(self, name: str) -> dict[tuple[str, ...], float]:
        """The sum of a metric by the names of its dimensions."""
        found: dict[tuple[str, ...], float] = {}
        for datum in self.datums:
            if datum["MetricName"] == name:
                names = tuple(each["Name"] for each in datum["Dimensions"])
                found[names] = found.get(names, 0.0) + datum["Value"]
        return found


ONE, FLEET = ("InstanceId",), ("ClusterName",)


class Sending:
    """A sink in a time that is moved by hand, a report every ten seconds."""

    def __init__(self, selection: Selection = BOTH, start: float = START, **settings: Any) -> None:
        self.now = start
        self.machine = Machine(instance_id="i-1", cluster="c", region="us-east-1")
        self.line = Line()
        self.settings = Settings(
            **{
                "namespace": "N",
                "region": None,
                "interval": MINUTE,
                "dimension_sets": [ONE],
                "spread": False,
                **settings,
            }
        )
        self.selection = selection
        self.sink = CloudWatchSink(
            selection,
            self.settings,
            lambda: self.machine,
            lambda _: self.line,
            Telemetry(),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self._bench = Bench()

    def minutes(self, count: int, completed: int = 1) -> None:
        """Some minutes, each with six reports of so many executions."""
        for _ in range(6 * count):
            self.now += 10
            busy = runtime(execution_stats=executions(completed))
            snapshot = self._bench.collect(report(busy)).snapshot
            self.sink.step()
            self.sink.offer(replace(snapshot, taken_at=Moment(self.now, self.now)))
        self.sink.step()

    def reconfigure(self, selection: Selection | None = None, **settings: Any) -> None:
        """Another configuration."""
        self.settings = replace(self.settings, **settings)
        self.sink.reconfigure(selection or self.selection, self.settings)


@pytest.mark.parametrize("before", [0.0, 0.3, 0.5])
def test_a_set_that_stays_is_sent_once_through_the_change(before: float) -> None:
    """Sums are exact across a reload in the middle of a window; a new set has whole windows, from
    the one that was open."""
    sending = Sending()
    sending.minutes(2)
    sending.now += before
    sending.reconfigure(dimension_sets=[ONE, FLEET])
    sending.minutes(3)
    sending.sink._flush_rest()
    sums = sending.line.sums("ExecutionsCompleted")
    assert sums[ONE] == 30
    assert sums[FLEET] == 30 - 6 * 2 + 1  # the report on the border is the open window's
    stamps = [
        (tuple(d["Name"] for d in datum["Dimensions"]), datum["Timestamp"])
        for datum in sending.line.datums
        if datum["MetricName"] == "ExecutionsCompleted"
    ]
    assert len(stamps) == len(set(stamps))


def test_a_set_that_replaces_another_loses_no_window() -> None:
    """Every window is sent, under the sets of the moment in which it is sent."""
    sending = Sending()
    sending.minutes(2)
    sending.reconfigure(dimension_sets=[FLEET])
    sending.minutes(2)
    sending.sink._flush_rest()
    assert sum(sending.line.sums("ExecutionsCompleted").values()) == 24


def test_extra_dimensions_are_a_part_of_every_set() -> None:
    """A value of our own that changes is another metric, from the open window on."""
    sending = Sending(extra_dimensions={"Stage": "a"})
    sending.minutes(2)
    sending.reconfigure(extra_dimensions={"Stage": "b"})
    sending.minutes(2)
    sending.sink._flush_rest()
    found = {"a": 0.0, "b": 0.0}
    for datum in sending.line.datums:
        if datum["MetricName"] == "ExecutionsCompleted":
            found[datum["Dimensions"][-1]["Value"]] += datum["Value"]
    assert found == {"a": 11, "b": 13}


def test_a_stop_right_after_a_change_loses_nothing() -> None:
    """Who stops before the change was taken sends the rest by what held before."""
    sending = Sending()
    sending.minutes(2)
    sending.reconfigure(dimension_sets=[FLEET])
    sending.sink._flush_rest()
    assert sending.line.sums("ExecutionsCompleted") == {ONE: 12}


def test_windows_wait_a_minute_for_fields_of_new_sets() -> None:
    """As at the start: what is not known is waited for, then the complete sets go on, and what
    waited is sent late, not lost."""
    sending = Sending()
    sending.minutes(2)
    sent = len(sending.line.datums)
    sending.reconfigure(dimension_sets=[ONE, ("AccountId",)])
    sending.minutes(1)
    assert len(sending.line.datums) == sent
    sending.minutes(2)
    sending.sink._flush_rest()
    assert sending.line.sums("ExecutionsCompleted") == {ONE: 30}


def test_fields_that_were_learned_since_complete_a_new_set() -> None:
    """A new set is made of what is known when it comes."""
    sending = Sending()
    sending.minutes(2)
    sending.machine = replace(sending.machine, account="1")
    sending.reconfigure(dimension_sets=[ONE, ("AccountId",)])
    sending.minutes(1)
    assert ("AccountId",) in sending.line.sums("ExecutionsCompleted")


def test_what_is_deselected_is_sent_no_more_from_the_open_window_on() -> None:
    """A metric that nobody wants costs nothing after the reload, though its row is still there."""
    sending = Sending()
    sending.minutes(2)
    sent = [d["MetricName"] for d in sending.line.datums].count("ExecutionErrors")
    sending.reconfigure(COMPLETED)
    sending.minutes(2)
    assert [d["MetricName"] for d in sending.line.datums].count("ExecutionErrors") == sent > 0
    assert sending.line.sums("ExecutionsCompleted")[ONE] == 24 - 1  # the last window is open


def test_a_heartbeat_that_is_selected_later_is_never_queued() -> None:
    """A request that waits for another attempt has no heartbeat, since when ever there is one."""
    sending = Sending()
    sending.minutes(2)
    sending.reconfigure(only("ExecutionsCompleted", "ExporterHeartbeat"))
    sending.line.send = lambda *_: Outcome(Verdict.RETRY, "Throttling", "no")  # type: ignore[method-assign]
    sending.minutes(2)
    assert sending.sink._delivery is not None
    kept = sending.sink._delivery.spool.next()
    assert kept is not None
    assert {datum["MetricName"] for datum in kept.entry.datums} == {"ExecutionsCompleted"}


def test_three_threads_lose_and_double_nothing() -> None:
    """Whoever reads, sends and reloads at the same time: each execution is sent once."""
    line, total = Line(), 0
    settings = Settings(namespace="N", region="r", interval=0.2, dimension_sets=[ONE], spread=False)
    machine = Machine(instance_id="i-1", cluster="c")
    sink = CloudWatchSink(BOTH, settings, lambda: machine, lambda _: line, Telemetry())
    bench, stopping = Bench(), threading.Event()

    def reload() -> None:
        others = itertools.cycle([(COMPLETED, [ONE, FLEET]), (BOTH, [ONE])])
        while not stopping.wait(0.05):
            selection, sets = next(others)
            sink.reconfigure(selection, replace(settings, dimension_sets=sets))

    reloading = threading.Thread(target=reload)
    sink.start()
    reloading.start()
    while len({datum["Timestamp"] for datum in list(line.datums)}) < 10:
        total += 1
        snapshot = bench.collect(report(runtime(execution_stats=executions(1)))).snapshot
        sink.offer(replace(snapshot, taken_at=Moment(time.time(), time.monotonic())))
    stopping.set()
    reloading.join()
    assert sink.close(10)
    assert line.sums("ExecutionsCompleted")[ONE] == total
    assert line.sums("ExecutionsCompleted")[FLEET] > 0


# The budget


def published(sending: Sending) -> set[tuple[str, tuple[str, ...]]]:
    """The metrics of the last window, by name and names of dimensions."""
    last = max(d["Timestamp"] for d in sending.line.datums)
    return {
        (d["MetricName"], tuple(each["Name"] for each in d["Dimensions"]))
        for d in sending.line.datums
        if d["Timestamp"] == last
    }


def test_what_was_billed_in_this_hour_counts_until_it_is_over() -> None:
    """A set that takes the place of another within an hour waits for the next: both would be
    billed."""
    sending = Sending(start=START - START % 3600, limit=2)
    sending.minutes(3)
    assert published(sending) == {("ExecutionsCompleted", ONE), ("ExecutionErrors", ONE)}
    sending.reconfigure(dimension_sets=[FLEET])
    sent = len(sending.line.datums)
    sending.minutes(3)
    assert len(sending.line.datums) == sent
    assert sending.sink.spending.waiting == 2
    sending.minutes(60)
    assert published(sending) == {("ExecutionsCompleted", FLEET), ("ExecutionErrors", FLEET)}


@pytest.mark.parametrize(
    "change",
    [
        lambda sending: sending.reconfigure(limit=4),
        lambda sending: sending.reconfigure(limit=None),
    ],
)
def test_a_larger_budget_publishes_at_once(change: Callable[[Sending], None]) -> None:
    """What was dropped is published with the next window."""
    sending = Sending(dimension_sets=[ONE, FLEET], limit=2)
    sending.minutes(3)
    assert len(published(sending)) == 2
    change(sending)
    sending.minutes(2)
    assert len(published(sending)) == 4


def test_what_is_wanted_no_more_does_not_press_on_the_budget() -> None:
    """The most of the last day is judged of what is wanted now only."""
    sending = Sending(dimension_sets=[ONE, FLEET], limit=2)
    sending.minutes(63)
    assert sending.sink.spending.wanted == 4
    sending.reconfigure(dimension_sets=[ONE])
    sending.minutes(3)
    assert sending.sink.spending.wanted == 2
    assert sending.sink.spending.dropped == {}


def test_a_change_is_taken_in_the_sinks_own_thread() -> None:
    """Nothing of a change is visible before the sink's cycle; of several, the last one counts."""
    sending = Sending()
    sending.reconfigure(FAILED)
    sending.reconfigure(COMPLETED)
    assert sending.sink.selection is BOTH
    sending.sink.step()
    assert sending.sink.selection is COMPLETED
    assert sink_module._LONGEST_WAIT == 5
