"""A running sink whose windows fail, wait or lack something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.delivery.spool import spool as spool_module
from tests.support.cloudwatch_sinks import (
    DELIVERED,
    INVALID,
    MACHINE,
    THROTTLED,
    RecordingTransport,
    RunningSink,
    running_sinks,
)
from tests.support.waiting import wait_for


@pytest.fixture
def start() -> Iterator[Callable[..., RunningSink]]:
    """Return a function that starts sinks; close them after the test."""
    with running_sinks() as start:
        yield start


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
