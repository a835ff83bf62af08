"""Reconfiguration of a running sink: each window is sent once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.model import Machine, Selection, Timestamp
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery import sink as delivery_sink
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import MINUTE, START, THROTTLED, SummingTransport, memory_spool
from tests.support.reports import Harness, executions, report, runtime
from tests.support.selections import BOTH, COMPLETED, FAILED, select_only

ONE, FLEET = ("InstanceId",), ("ClusterName",)


class ReloadedSink:
    """A sink with a clock that the test advances, and a report every ten seconds."""

    def __init__(self, selection: Selection = BOTH, start: float = START, **settings: Any) -> None:
        self.now = start
        self.machine = Machine(instance_id="i-1", cluster="c", region="us-east-1")
        self.transport = SummingTransport()
        self.settings = SinkSettings(
            **{
                "namespace": "NeuronExporter",
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
            lambda _: self.transport,
            Telemetry(),
            memory_spool(lambda: self.now, lambda: self.now),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self._bench = Harness()

    def minutes(self, count: int, completed: int = 1) -> None:
        """Run some minutes, each with six reports of so many executions."""
        for _ in range(6 * count):
            self.now += 10
            busy = runtime(execution_stats=executions(completed))
            snapshot = self._bench.collect(report(busy)).snapshot
            self.sink.run_once()
            self.sink.offer(replace(snapshot, taken_at=Timestamp(self.now, self.now)))
        self.sink.run_once()

    def reconfigure(self, selection: Selection | None = None, **settings: Any) -> None:
        """Reconfigure the sink."""
        self.settings = replace(self.settings, **settings)
        self.sink.reconfigure(selection or self.selection, self.settings)


@pytest.mark.parametrize("before", [0.0, 0.3, 0.5])
def test_kept_set_is_sent_once(before: float) -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    reloaded.now += before
    reloaded.reconfigure(dimension_sets=[ONE, FLEET])
    reloaded.minutes(3)
    reloaded.sink._flush_rest()
    sums = reloaded.transport.sums("ExecutionsCompleted")
    assert sums[ONE] == 30
    assert sums[FLEET] == 30 - 6 * 2 + 1  # the report at the boundary belongs to the open window
    stamps = [
        (tuple(d["Name"] for d in datum["Dimensions"]), datum["Timestamp"])
        for datum in reloaded.transport.delivered
        if datum["MetricName"] == "ExecutionsCompleted"
    ]
    assert len(stamps) == len(set(stamps))


def test_replaced_set_loses_no_window() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    reloaded.reconfigure(dimension_sets=[FLEET])
    reloaded.minutes(2)
    reloaded.sink._flush_rest()
    assert sum(reloaded.transport.sums("ExecutionsCompleted").values()) == 24


def test_changed_extra_dimensions_apply_to_open_window() -> None:
    reloaded = ReloadedSink(extra_dimensions={"Stage": "a"})
    reloaded.minutes(2)
    reloaded.reconfigure(extra_dimensions={"Stage": "b"})
    reloaded.minutes(2)
    reloaded.sink._flush_rest()
    found = {"a": 0.0, "b": 0.0}
    for datum in reloaded.transport.delivered:
        if datum["MetricName"] == "ExecutionsCompleted":
            found[datum["Dimensions"][-1]["Value"]] += datum["Value"]
    assert found == {"a": 11, "b": 13}


def test_stop_before_change_is_applied() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    reloaded.reconfigure(dimension_sets=[FLEET])
    reloaded.sink._flush_rest()
    assert reloaded.transport.sums("ExecutionsCompleted") == {ONE: 12}


def test_windows_wait_for_fields_of_new_sets() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    sent = len(reloaded.transport.delivered)
    reloaded.reconfigure(dimension_sets=[ONE, ("AccountId",)])
    reloaded.minutes(1)
    assert len(reloaded.transport.delivered) == sent
    reloaded.minutes(2)
    reloaded.sink._flush_rest()
    assert reloaded.transport.sums("ExecutionsCompleted") == {ONE: 30}


def test_new_set_uses_latest_identity() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    reloaded.machine = replace(reloaded.machine, account="1")
    reloaded.reconfigure(dimension_sets=[ONE, ("AccountId",)])
    reloaded.minutes(1)
    assert ("AccountId",) in reloaded.transport.sums("ExecutionsCompleted")


def test_deselected_metric_leaves_open_window() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    sent = [d["MetricName"] for d in reloaded.transport.delivered].count("ExecutionErrors")
    reloaded.reconfigure(COMPLETED)
    reloaded.minutes(2)
    assert (
        [d["MetricName"] for d in reloaded.transport.delivered].count("ExecutionErrors") == sent > 0
    )
    assert reloaded.transport.sums("ExecutionsCompleted")[ONE] == 24 - 1  # the last window is open


def test_heartbeat_selected_later_is_not_spooled() -> None:
    reloaded = ReloadedSink()
    reloaded.minutes(2)
    reloaded.reconfigure(select_only("ExecutionsCompleted", "ExporterHeartbeat"))
    reloaded.transport.send = lambda *_: THROTTLED  # type: ignore[method-assign]
    reloaded.minutes(2)
    assert reloaded.sink._sender is not None
    taken = reloaded.sink._sender.spool.take()
    assert taken is not None
    assert {datum["MetricName"] for datum in taken.request.items} == {"ExecutionsCompleted"}


# The budget


def published(reloaded: ReloadedSink) -> set[tuple[str, tuple[str, ...]]]:
    """Return the metrics of the last window: name and dimension names."""
    last = max(d["Timestamp"] for d in reloaded.transport.delivered)
    return {
        (d["MetricName"], tuple(each["Name"] for each in d["Dimensions"]))
        for d in reloaded.transport.delivered
        if d["Timestamp"] == last
    }


def test_billed_metrics_count_until_hour_ends() -> None:
    reloaded = ReloadedSink(start=START - START % 3600, metric_limit=2)
    reloaded.minutes(3)
    assert published(reloaded) == {("ExecutionsCompleted", ONE), ("ExecutionErrors", ONE)}
    reloaded.reconfigure(dimension_sets=[FLEET])
    sent = len(reloaded.transport.delivered)
    reloaded.minutes(3)
    assert len(reloaded.transport.delivered) == sent
    assert reloaded.sink.budget_status.deferred == 2
    reloaded.minutes(60)
    assert published(reloaded) == {("ExecutionsCompleted", FLEET), ("ExecutionErrors", FLEET)}


@pytest.mark.parametrize(
    "change",
    [
        lambda reloaded: reloaded.reconfigure(metric_limit=4),
        lambda reloaded: reloaded.reconfigure(metric_limit=None),
    ],
)
def test_larger_budget_applies_at_once(change: Callable[[ReloadedSink], None]) -> None:
    reloaded = ReloadedSink(dimension_sets=[ONE, FLEET], metric_limit=2)
    reloaded.minutes(3)
    assert len(published(reloaded)) == 2
    change(reloaded)
    reloaded.minutes(2)
    assert len(published(reloaded)) == 4


def test_deselected_metrics_leave_the_budget() -> None:
    reloaded = ReloadedSink(dimension_sets=[ONE, FLEET], metric_limit=2)
    reloaded.minutes(63)
    assert reloaded.sink.budget_status.wanted == 4
    reloaded.reconfigure(dimension_sets=[ONE])
    reloaded.minutes(3)
    assert reloaded.sink.budget_status.wanted == 2
    assert reloaded.sink.budget_status.suppressed_items == {}


def test_change_is_applied_by_the_sinks_cycle() -> None:
    reloaded = ReloadedSink()
    reloaded.reconfigure(FAILED)
    reloaded.reconfigure(COMPLETED)
    assert reloaded.sink.selection is BOTH
    reloaded.sink.run_once()
    assert reloaded.sink.selection is COMPLETED
    assert delivery_sink.MAX_WAIT == 5
