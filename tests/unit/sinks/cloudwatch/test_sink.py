"""The sink delivers each window at least once, and says when it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Machine, Moment
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Transport, Verdict
from neuron_exporter.sinks.delivery.jitter import Turn
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Bench, executions, report, runtime
from tests.support.waiting import wait_for

STANDARD, _ = for_cloudwatch("standard", [], [])
HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
DELIVERED = Outcome(Verdict.DELIVERED)
THROTTLED = Outcome(Verdict.RETRY, "Throttling", "Rate exceeded")
INVALID = Outcome(Verdict.NEVER, "InvalidParameterValue", "no")


class Line:
    """A transport that answers as it is told, and keeps what it was given."""

    def __init__(self, outcome: Outcome = DELIVERED) -> None:
        self.outcome = outcome
        self.sent: list[list[Datum]] = []
        self.delivered: list[Datum] = []
        self.closed = False

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Keep the request and give the outcome."""
        assert namespace == "NeuronExporter"
        self.sent.append(datums)
        if self.outcome is DELIVERED:
            self.delivered += datums
        return self.outcome

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def sum_of(self, name: str) -> float:
        """The sum of what was delivered of a metric."""
        return sum(d["Value"] for d in list(self.delivered) if d["MetricName"] == name)


class Setting:
    """A sink with short windows, fed by hand in real time."""

    def __init__(self, line: Transport, machine: Machine = HERE, **settings: Any) -> None:
        self.machine = machine
        self.regions: list[str] = []
        self.telemetry = Telemetry()
        self.sink = CloudWatchSink(
            STANDARD,
            Settings(
                **{
                    "namespace": "NeuronExporter",
                    "region": None,
                    "interval": 0.4,
                    "dimension_sets": [["InstanceId", "InstanceType"]],
                    "spread": False,
                    **settings,
                }
            ),
            lambda: self.machine,
            lambda region: self.regions.append(region) or line,  # type: ignore[func-returns-value]
            self.telemetry,
        )
        self.sink.start()
        self._bench = Bench()

    def offer(self, completed: int) -> None:
        """Offer a report of now with so many executions."""
        busy = runtime(execution_stats=executions(completed))
        snapshot = self._bench.collect(report(busy)).snapshot
        self.sink.offer(replace(snapshot, taken_at=Moment(time.time(), time.monotonic())))

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(
            f"neuron_exporter_{name}", {"sink": "cloudwatch", **labels}
        )


@pytest.fixture
def start() -> Iterator[Callable[..., Setting]]:
    """Starts sinks, and ends them."""
    started: list[Setting] = []

    def make(*arguments: Any, **settings: Any) -> Setting:
        started.append(Setting(*arguments, **settings))
        return started[-1]

    yield make
    for setting in started:
        assert setting.sink.close(10)


def test_windows_are_delivered_when_they_are_over(start: Callable[..., Setting]) -> None:
    """Every window is sent once, with a heartbeat, under the machine's dimensions."""
    line = Line()
    setting = start(line)
    setting.offer(3)
    wait_for(lambda: line.sum_of("ExecutionsCompleted") == 3)
    beats = [d for d in line.delivered if d["MetricName"] == "ExporterHeartbeat"]
    assert [d["Value"] for d in beats] == [1.0]
    assert beats[0]["Dimensions"] == [
        {"Name": "InstanceId", "Value": "i-1"},
        {"Name": "InstanceType", "Value": "trn1.32xlarge"},
    ]
    assert setting.regions == ["us-east-1"]
    assert setting.value("sink_up") == 1


def test_a_dead_source_is_a_heartbeat_of_zero(
    start: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose source never speaks is known by its zeros."""
    monkeypatch.setattr(sink_module, "SOURCE_GRACE", 0.0)
    line = Line()
    start(line)
    wait_for(lambda: len(line.sent) >= 2)
    assert {(d["MetricName"], d["Value"]) for d in line.delivered} == {("ExporterHeartbeat", 0.0)}


def test_closing_flushes_the_window_that_is_open(start: Callable[..., Setting]) -> None:
    """A stop sends what was gathered, without a heartbeat for a window that is not over."""
    line = Line()
    setting = start(line, interval=3600.0)
    setting.offer(5)
    assert setting.sink.close(5)
    assert line.sum_of("ExecutionsCompleted") == 5
    assert "ExporterHeartbeat" not in {d["MetricName"] for d in line.delivered}
    assert line.closed


def test_what_fails_is_sent_later_without_its_heartbeat(start: Callable[..., Setting]) -> None:
    """An outage delays data and loses none; heartbeats are only of now."""
    line = Line(THROTTLED)
    setting = start(line)
    setting.offer(3)
    wait_for(lambda: setting.value("sink_queue_requests") == 1)
    assert setting.value("sink_up") == 0
    setting.offer(4)
    wait_for(lambda: setting.value("sink_queue_requests") == 2)
    line.outcome = DELIVERED
    wait_for(lambda: setting.value("sink_queue_requests") == 0)
    assert line.sum_of("ExecutionsCompleted") == 7
    stamps = [d["Timestamp"] for d in line.delivered if d["MetricName"] == "ExecutionsCompleted"]
    assert len(stamps) == len(set(stamps))
    beats = {d["Timestamp"] for d in line.delivered if d["MetricName"] == "ExporterHeartbeat"}
    assert not beats & set(stamps)
    assert setting.value("sink_up") == 1
    assert setting.value("sink_errors_total", code="Throttling")


def test_what_is_refused_for_good_is_given_up(start: Callable[..., Setting]) -> None:
    """A request that would be refused again is dropped, counted, and does not block others."""
    line = Line(INVALID)
    setting = start(line)
    setting.offer(3)
    wait_for(lambda: setting.value("sink_dropped_requests_total", reason="rejected"))
    assert setting.value("sink_queue_requests") == 0
    line.outcome = DELIVERED
    setting.offer(4)
    wait_for(lambda: line.sum_of("ExecutionsCompleted") == 4)


def test_the_queue_is_bounded(
    start: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long outage costs the oldest requests, counted, not memory."""
    monkeypatch.setattr(sink_module, "MOST_IN_MEMORY", 2000)
    line = Line(THROTTLED)
    setting = start(line)

    def full() -> bool:
        setting.offer(1)
        return bool(setting.value("sink_dropped_requests_total", reason="spool_full"))

    wait_for(full, every=0.1)
    assert 0 < (setting.value("sink_queue_requests") or 0) < 5


def test_it_waits_for_the_fields_of_its_sets(start: Callable[..., Setting]) -> None:
    """Windows are held until the machine is known, and none is lost."""
    line = Line()
    setting = start(line, Machine(region="us-east-1"))
    setting.offer(3)
    wait_for(lambda: setting.sink._held)
    setting.machine = HERE
    wait_for(lambda: line.sum_of("ExecutionsCompleted") == 3)


def test_a_set_that_stays_incomplete_is_dropped(
    start: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while a set with a missing field is given up, the others are sent."""
    monkeypatch.setattr(sink_module, "IDENTITY_PATIENCE", 1.5)
    line = Line()
    setting = start(line, dimension_sets=[["InstanceId", "ClusterName"], ["InstanceId"]])
    setting.offer(3)
    wait_for(lambda: line.delivered)
    assert {len(d["Dimensions"]) for d in line.delivered} == {1}
    dropped = "neuron_exporter_cloudwatch_dropped_dimension_sets"
    assert setting.telemetry.registry.get_sample_value(dropped) == 1


@pytest.mark.parametrize(
    ("machine", "missing"),
    [
        (Machine(region="us-east-1"), "InstanceId, InstanceType"),
        (replace(HERE, region=""), "region"),
    ],
)
def test_a_sink_that_cannot_send_says_why_and_starts_when_it_can(
    start: Callable[..., Setting],
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    missing: str,
) -> None:
    """What is missing is named; as soon as it is known, windows are sent."""
    monkeypatch.setattr(sink_module, "IDENTITY_PATIENCE", 0.5)
    line = Line()
    setting = start(line, machine)
    wait_for(lambda: missing in setting.sink.status()["state"])
    assert setting.value("sink_up") == 0
    setting.machine = HERE
    setting.offer(1)
    wait_for(lambda: setting.value("sink_up") == 1)
    assert line.delivered


def test_a_configured_region_goes_before_the_machines(start: Callable[..., Setting]) -> None:
    """Metrics can be sent to another region than the machine's."""
    setting = start(Line(), region="eu-west-1")
    setting.offer(1)
    wait_for(lambda: setting.regions)
    assert setting.regions == ["eu-west-1"]


def test_what_stays_on_the_machine_needs_no_region(start: Callable[..., Setting]) -> None:
    """Lines for a log agent go nowhere by themselves: not knowing the region holds nothing up."""
    line = Line()
    setting = start(line, replace(HERE, region=""), needs_region=False)
    setting.offer(3)
    wait_for(lambda: line.sum_of("ExecutionsCompleted") == 3)


def test_machines_of_a_fleet_send_at_different_moments() -> None:
    """Only the sending is spread, by the instance's id, and always within the interval."""
    delays = []
    for number in range(1000):
        machine = Machine(instance_id=f"i-{number:017x}")
        delays.append(Turn(lambda its=machine: its, 60.0).after_window())  # type: ignore[misc]
    assert 0 <= min(delays) < 1
    assert 53 < max(delays) < 60
    per_second = [sum(int(delay) == second for delay in delays) for second in range(54)]
    assert max(per_second) <= 2 * 1000 / 60


def test_a_stop_waits_for_its_turn_within_its_time(start: Callable[..., Setting]) -> None:
    """A machine of a fleet sends what is left at its place among the others; one that has nothing
    left, or sends to nobody else's place, does not wait."""
    late = Machine(instance_id="i-5", instance_type="trn1.32xlarge", region="us-east-1")
    turn = Turn(lambda: late, 3600.0)
    assert 4 < turn.at_stop(20.0) < 6
    assert Turn(lambda: late, 3600.0, alone=True).at_stop(20.0) == 0
    assert 0 <= Turn(Machine, 3600.0).at_stop(20.0) < 6
    line = Line()
    setting = start(line, late, interval=3600.0, spread=True)
    setting.offer(5)
    before = time.monotonic()
    assert setting.sink.close(1.0)
    assert turn.at_stop(1.0) <= time.monotonic() - before < 1.0
    assert line.sum_of("ExecutionsCompleted") == 5
    idle = start(line, late, interval=3600.0, spread=True)
    before = time.monotonic()
    assert idle.sink.close(3.0)
    assert time.monotonic() - before < turn.at_stop(3.0)
