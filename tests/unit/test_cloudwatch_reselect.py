"""Another selection, other sets, another budget: what is counted has neither a gap nor a double."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exporter.metrics.selection import for_cloudwatch
from exporter.model import Machine, Moment, Owner, Owners, Selection, Snapshot
from exporter.sinks.cloudwatch import sink as sink_module
from exporter.sinks.cloudwatch.datums import Datum
from exporter.sinks.cloudwatch.plan import MACHINE, WHOLE_MACHINE
from exporter.sinks.cloudwatch.sink import CloudWatchSink, Settings
from exporter.sinks.cloudwatch.transport import Outcome, Verdict
from exporter.sinks.cloudwatch.window import Window, Windows
from exporter.telemetry import Telemetry
from tests.support.reports import Bench, ecc, executions, report, runtime

MINUTE = 60.0
START = 1_700_000_040.0


def only(*names: str, per_owner: bool = False) -> Selection:
    """A selection of these metrics alone."""
    offered = for_cloudwatch("full", ["*"], [])[0].names
    return for_cloudwatch("full", ["*"], sorted(offered - set(names)), per_owner=per_owner)[0]


COMPLETED, FAILED = only("ExecutionsCompleted"), only("ExecutionErrors")
BOTH = only("ExecutionsCompleted", "ExecutionErrors")
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
            lambda: self.now,
            lambda: self.now,
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


def test_windows_wait_a_minute_for_fields_of_new_sets() -> None:
    """As at the start: what is not known is waited for, then the complete sets go on, and what
    waited is sent late, not lost."""
    sending = Sending()
    sending.minutes(2)
    sent = len(sending.line.datums)
    sending.reconfigure(dimension_sets=[ONE, ("ServiceName",)])
    sending.minutes(1)
    assert len(sending.line.datums) == sent
    sending.minutes(2)
    sending.sink._flush_rest()
    assert sending.line.sums("ExecutionsCompleted") == {ONE: 30}


def test_fields_that_were_learned_since_complete_a_new_set() -> None:
    """A new set is made of what is known when it comes."""
    sending = Sending()
    sending.minutes(2)
    sending.machine = replace(sending.machine, service="s")
    sending.reconfigure(dimension_sets=[ONE, ("ServiceName",)])
    sending.minutes(1)
    assert ("ServiceName",) in sending.line.sums("ExecutionsCompleted")


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
    waiting = [d["MetricName"] for each in sending.sink._queue for d in each.request]
    assert waiting
    assert set(waiting) == {"ExecutionsCompleted"}


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
