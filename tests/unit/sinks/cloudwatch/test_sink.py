"""The sink delivers each window at least once, and reports failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from neuron_exporter.model import Machine, Timestamp
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery import sink as delivery_sink
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.spool import spool as spool_module
from neuron_exporter.sinks.delivery.transport import Transport
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import (
    DELIVERED,
    INVALID,
    MACHINE,
    STANDARD,
    THROTTLED,
    RecordingTransport,
    memory_spool,
)
from tests.support.reports import Harness, executions, report, runtime
from tests.support.waiting import wait_for


class RunningSink:
    """A sink with short windows that runs in real time."""

    def __init__(self, transport: Transport, machine: Machine = MACHINE, **settings: Any) -> None:
        self.machine = machine
        self.regions: list[str] = []
        self.telemetry = Telemetry()
        self.sink = CloudWatchSink(
            STANDARD,
            SinkSettings(
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
            lambda region: self.regions.append(region) or transport,  # type: ignore[func-returns-value]
            self.telemetry,
            memory_spool(),
        )
        self.sink.start()
        self._bench = Harness()

    def offer(self, completed: int) -> None:
        """Offer a report with so many executions."""
        busy = runtime(execution_stats=executions(completed))
        snapshot = self._bench.collect(report(busy)).snapshot
        self.sink.offer(replace(snapshot, taken_at=Timestamp(time.time(), time.monotonic())))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(
            f"neuron_exporter_{name}", {"sink": "cloudwatch", **labels}
        )


@pytest.fixture
def start() -> Iterator[Callable[..., RunningSink]]:
    """Return a function that starts sinks; close them after the test."""
    started: list[RunningSink] = []

    def make(*arguments: Any, **settings: Any) -> RunningSink:
        started.append(RunningSink(*arguments, **settings))
        return started[-1]

    yield make
    for running in started:
        assert running.sink.close(60)


def test_window_is_delivered_when_over(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport()
    running = start(transport)
    running.offer(3)
    wait_for(lambda: transport.sum_of("ExecutionsCompleted") == 3)
    beats = [d for d in transport.delivered if d["MetricName"] == "ExporterHeartbeat"]
    assert [d["Value"] for d in beats] == [1.0]
    assert beats[0]["Dimensions"] == [
        {"Name": "InstanceId", "Value": "i-1"},
        {"Name": "InstanceType", "Value": "trn1.32xlarge"},
    ]
    assert running.regions == ["us-east-1"]
    assert running.value("sink_up") == 1


def test_dead_source_sends_zero_heartbeats(
    start: Callable[..., RunningSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "SOURCE_GRACE", 0.0)
    transport = RecordingTransport()
    start(transport)
    wait_for(lambda: len(transport.sent) >= 2)
    assert {(d["MetricName"], d["Value"]) for d in transport.delivered} == {
        ("ExporterHeartbeat", 0.0)
    }


def test_close_flushes_open_window(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport()
    running = start(transport, interval=3600.0)
    running.offer(5)
    assert running.sink.close(60)
    assert transport.sum_of("ExecutionsCompleted") == 5
    assert "ExporterHeartbeat" not in {d["MetricName"] for d in transport.delivered}
    assert transport.closed


def test_failed_request_is_resent_without_heartbeat(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport(THROTTLED)
    running = start(transport)
    running.offer(3)
    wait_for(lambda: running.value("sink_queue_requests") == 1)
    assert running.value("sink_up") == 0
    running.offer(4)
    wait_for(lambda: running.value("sink_queue_requests") == 2)
    transport.outcome = DELIVERED
    wait_for(lambda: running.value("sink_queue_requests") == 0)
    assert transport.sum_of("ExecutionsCompleted") == 7
    stamps = [
        d["Timestamp"] for d in transport.delivered if d["MetricName"] == "ExecutionsCompleted"
    ]
    assert len(stamps) == len(set(stamps))
    beats = {d["Timestamp"] for d in transport.delivered if d["MetricName"] == "ExporterHeartbeat"}
    assert not beats & set(stamps)
    assert running.value("sink_up") == 1
    assert running.value("sink_errors_total", code="Throttling")


def test_rejected_request_is_dropped(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport(INVALID)
    running = start(transport)
    running.offer(3)
    wait_for(lambda: running.value("sink_dropped_requests_total", reason="rejected"))
    assert running.value("sink_queue_requests") == 0
    transport.outcome = DELIVERED
    running.offer(4)
    wait_for(lambda: transport.sum_of("ExecutionsCompleted") == 4)


def test_memory_queue_is_bounded(
    start: Callable[..., RunningSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "MAX_IN_MEMORY", 2000)
    transport = RecordingTransport(THROTTLED)
    running = start(transport)

    def full() -> bool:
        running.offer(1)
        return bool(running.value("sink_dropped_requests_total", reason="spool_full"))

    wait_for(full, every=0.1)
    assert 0 < (running.value("sink_queue_requests") or 0) < 5


def test_windows_wait_for_identity(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport()
    running = start(transport, Machine(region="us-east-1"))
    running.offer(3)
    wait_for(lambda: running.sink._unsent)
    running.machine = MACHINE
    wait_for(lambda: transport.sum_of("ExecutionsCompleted") == 3)


def test_incomplete_set_is_dropped(
    start: Callable[..., RunningSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "IDENTITY_TIMEOUT", 1.5)
    transport = RecordingTransport()
    running = start(transport, dimension_sets=[["InstanceId", "ClusterName"], ["InstanceId"]])
    running.offer(3)
    wait_for(lambda: transport.delivered)
    assert {len(d["Dimensions"]) for d in transport.delivered} == {1}
    dropped = "neuron_exporter_cloudwatch_dropped_dimension_sets"
    assert running.telemetry.registry.get_sample_value(dropped) == 1


@pytest.mark.parametrize(
    ("machine", "missing"),
    [
        (Machine(region="us-east-1"), "InstanceId, InstanceType"),
        (replace(MACHINE, region=""), "region"),
    ],
)
def test_missing_identity_is_named(
    start: Callable[..., RunningSink],
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    missing: str,
) -> None:
    monkeypatch.setattr(sink_module, "IDENTITY_TIMEOUT", 0.5)
    transport = RecordingTransport()
    running = start(transport, machine)
    wait_for(lambda: missing in running.sink.status()["state"])
    assert running.value("sink_up") == 0
    running.machine = MACHINE
    running.offer(1)
    wait_for(lambda: running.value("sink_up") == 1)
    assert transport.delivered


def test_configured_region_takes_precedence(start: Callable[..., RunningSink]) -> None:
    running = start(RecordingTransport(), region="eu-west-1")
    running.offer(1)
    wait_for(lambda: running.regions)
    assert running.regions == ["eu-west-1"]


def test_local_output_needs_no_region(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport()
    running = start(transport, replace(MACHINE, region=""), needs_region=False)
    running.offer(3)
    wait_for(lambda: transport.sum_of("ExecutionsCompleted") == 3)


def test_fleet_sends_at_different_times() -> None:
    delays = []
    for number in range(1000):
        machine = Machine(instance_id=f"i-{number:017x}")
        delays.append(SendSlot(lambda its=machine: its, 60.0).after_window())  # type: ignore[misc]
    assert 0 <= min(delays) < 1
    assert 53 < max(delays) < 60
    per_second = [sum(int(delay) == second for delay in delays) for second in range(54)]
    assert max(per_second) <= 2 * 1000 / 60


def test_stop_waits_for_its_send_slot(
    start: Callable[..., RunningSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Machine(instance_id="i-5", instance_type="trn1.32xlarge", region="us-east-1")
    slot = SendSlot(lambda: late, 3600.0)
    assert 4 < slot.at_stop(20.0) < 6
    assert SendSlot(lambda: late, 3600.0, spread=False).at_stop(20.0) == 0
    assert 0 <= SendSlot(Machine, 3600.0).at_stop(20.0) < 6
    sleeps: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleeps.append)
    monkeypatch.setattr(delivery_sink, "time", clock)
    transport = RecordingTransport()
    running = start(transport, late, interval=3600.0, spread=True)
    running.offer(5)
    assert running.sink.close(10.0)
    assert sleeps == [slot.at_stop(10.0)]
    assert transport.sum_of("ExecutionsCompleted") == 5
    idle = start(transport, late, interval=3600.0, spread=True)
    assert idle.sink.close(10.0)
    assert len(sleeps) == 1
