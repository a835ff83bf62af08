"""The sink delivers each window at least once, and reports failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from neuron_exporter.model import Machine
from neuron_exporter.sinks.delivery import sink as delivery_sink
from neuron_exporter.sinks.delivery.jitter import SendSlot
from tests.support.cloudwatch_sinks import MACHINE, RecordingTransport, RunningSink, running_sinks
from tests.support.waiting import wait_for


@pytest.fixture
def start() -> Iterator[Callable[..., RunningSink]]:
    """Return a function that starts sinks; close them after the test."""
    with running_sinks() as start:
        yield start


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


def test_close_flushes_open_window(start: Callable[..., RunningSink]) -> None:
    transport = RecordingTransport()
    running = start(transport, interval=3600.0)
    running.offer(5)
    assert running.sink.close(60)
    assert transport.sum_of("ExecutionsCompleted") == 5
    assert "ExporterHeartbeat" not in {d["MetricName"] for d in transport.delivered}
    assert transport.closed


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
