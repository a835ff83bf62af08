"""Failures are reported, retried and finally dropped; every loss is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery import sink as sink_module
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import MAX_FAILURES
from neuron_exporter.sinks.delivery.transport import Outcome, Transport
from tests.support.cloudwatch_sinks import (
    DAY,
    DELIVERED,
    INVALID,
    MACHINE,
    MINUTE,
    START,
    THROTTLED,
    ManualSink,
    RecordingTransport,
    executions_in,
)
from tests.support.waiting import wait_for


def test_no_zero_heartbeat_within_grace() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport, since=START + 55)
    manual.wait(5.5)
    manual.wait(50)
    manual.offer(3)
    manual.wait(10)
    assert transport.heartbeats() == [(60, 1.0)]


def test_silent_source_is_dead_after_grace() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport, since=START + 55)
    manual.wait(5.5)
    for _ in range(2):
        manual.wait(MINUTE)
    assert transport.heartbeats() == [(60, 0.0), (120, 0.0)]


def test_clock_step_ends_neither_grace_nor_identity_wait() -> None:
    transport = RecordingTransport()
    manual = ManualSink(
        transport, replace(MACHINE, instance_type=""), (("InstanceId",), ("InstanceType",))
    )
    manual.wall += 10 * DAY
    manual.wait(1)
    assert transport.sent == []
    manual.machine = MACHINE
    manual.wait(50)
    manual.offer(3)
    manual.wait(9)
    assert {value for _, value in transport.heartbeats()} == {1.0}
    names = {d["Dimensions"][0]["Name"] for d in transport.delivered}
    assert names == {"InstanceId", "InstanceType"}


def test_rejection_is_reported_until_a_delivery() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    manual.minute(1)
    transport.outcome = INVALID
    with capture_logs() as log:
        for _ in range(3):
            manual.minute(1)
            assert manual.value("sink_up") == 0
            assert manual.sink.status()["state"] == "InvalidParameterValue: no"
        transport.outcome = DELIVERED
        manual.minute(1)
    assert manual.value("sink_up") == 1
    assert manual.sink.status()["state"] == "delivering"
    assert [event["event"] for event in log] == ["delivery_failing", "delivery_recovered"]
    assert manual.dropped("rejected") == 3


def test_rejection_beside_deliveries_is_reported() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    with capture_logs() as log:
        for _ in range(3):
            manual.offer(1)
            manual.offer(1, age=15 * DAY)
            manual.wait(MINUTE)
            assert manual.value("sink_up") == 0
    assert transport.sum_of("ExecutionsCompleted") == 3
    assert [(event["event"], event["code"]) for event in log] == [("delivery_failing", "too_old")]
    assert manual.dropped("too_old") == 3


def test_untimely_spooled_request_is_dropped() -> None:
    transport = RecordingTransport(THROTTLED)
    manual = ManualSink(transport)
    manual.minute(1)
    transport.outcome = DELIVERED
    manual.wall -= 3 * 3600
    manual.sink._wait_seconds()
    for _ in range(2):  # a delivery confirms the clock
        manual.wait(MINUTE)
    assert manual.dropped("too_far_ahead") == 1
    assert manual.value("sink_queue_requests") == 0
    assert executions_in(transport.delivered) is None


def cannot_connect(manual: ManualSink, transport: RecordingTransport) -> Callable[[], None]:
    """Make opening the transport fail; return a function that repairs it."""

    def reject() -> Transport:
        raise ValueError("no such profile")

    manual.connect = reject  # type: ignore[method-assign]
    return lambda: setattr(manual, "connect", lambda: transport)


def raises(manual: ManualSink, transport: RecordingTransport) -> Callable[[], None]:
    """Make the transport raise; return a function that repairs it."""
    send = transport.send

    def fail(*_: Any) -> Outcome:
        raise ValueError("no such profile")

    transport.send = fail  # type: ignore[method-assign]
    return lambda: setattr(transport, "send", send)


@pytest.mark.parametrize("broken", [cannot_connect, raises])
def test_raising_transport_loses_no_window(
    broken: Callable[[ManualSink, RecordingTransport], Callable[[], None]],
) -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    repair = broken(manual, transport)
    for _ in range(3):
        manual.minute(2)
    assert manual.value("sink_up") == 0
    assert manual.sink.status()["state"].endswith("no such profile")
    assert manual.value("sink_errors_total", code="ValueError")
    repair()
    manual.minute(2)
    assert transport.sum_of("ExecutionsCompleted") == 8
    assert manual.value("sink_up") == 1


def test_windows_of_unknown_machine_are_counted_as_dropped() -> None:
    manual = ManualSink(RecordingTransport(), Machine())
    for _ in range(5):
        manual.minute(1)
    assert manual.dropped("identity") == 5
    assert manual.value("sink_up") == 0


def test_stop_while_waiting_sends_complete_sets() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport, sets=(("InstanceId",), ("ClusterName",)))
    manual.offer(4)
    manual.sink._guarded(manual.sink._flush_rest, None)
    assert transport.sum_of("ExecutionsCompleted") == 4


class FailingForOneRequest(RecordingTransport):
    """A transport that always fails for one request, with an unknown code."""

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Record every request but one."""
        if executions_in(request.items) == 13:
            return Outcome(THROTTLED.verdict, "Unheard", "of")
        return super().send(request)


def test_failing_request_blocks_no_other_and_is_dropped() -> None:
    transport = FailingForOneRequest(THROTTLED)
    manual = ManualSink(transport)
    for completed in (13, 1, 1, 1):
        manual.minute(completed)
    transport.outcome = DELIVERED
    manual.minute(1)
    manual.minute(1)
    assert transport.sum_of("ExecutionsCompleted") == 5
    assert manual.value("sink_up") == 1
    for _ in range(MAX_FAILURES - 3):
        manual.minute(0)
    assert (manual.value("sink_queue_requests"), manual.dropped("attempts")) == (1, 0)
    manual.minute(0)
    assert (manual.value("sink_queue_requests"), manual.dropped("attempts")) == (0, 1)
    assert manual.value("sink_up") == 0
    assert manual.sink.status()["state"] == "Unheard: given up: of"


def test_outage_counts_no_failures() -> None:
    transport = RecordingTransport(THROTTLED)
    manual = ManualSink(transport)
    for _ in range(3 * MAX_FAILURES):
        manual.minute(1)
    transport.outcome = DELIVERED
    for _ in range(4):
        manual.minute(1)
    assert transport.sum_of("ExecutionsCompleted") == 3 * MAX_FAILURES + 4
    assert manual.dropped("attempts") == 0


def test_outage_without_new_data_counts_no_failures() -> None:
    transport = RecordingTransport(THROTTLED)
    without_heartbeat, _ = select_for_cloudwatch("standard", [], ["ExporterHeartbeat"])
    manual = ManualSink(transport, selection=without_heartbeat)
    manual.minute(3)
    for _ in range(3 * MAX_FAILURES):
        manual.wait(MINUTE)
    assert len(transport.sent) > MAX_FAILURES
    transport.outcome = DELIVERED
    manual.wait(MINUTE)
    assert transport.sum_of("ExecutionsCompleted") == 3


def test_stop_sends_last_window_before_backlog() -> None:
    transport = RecordingTransport(THROTTLED)
    manual = ManualSink(transport)
    for _ in range(4):
        manual.minute(1)
    transport.outcome = DELIVERED
    transport.sent.clear()
    send = transport.send

    def send_and_stop(request: PutMetricDataRequest) -> Outcome:
        if len(transport.sent) == 1:  # the first of the backlog
            manual.sink._stopping.set()
        return send(request)

    transport.send = send_and_stop  # type: ignore[method-assign]
    manual.minute(5)
    manual.offer(7)
    manual.sink._guarded(manual.sink._flush_rest, None)
    assert [executions_in(datums) for datums in transport.sent] == [5, 1, 7, 1, 1, 1]


def test_slow_stop_logs_data_lost() -> None:
    free, sending = threading.Event(), threading.Event()

    class Stuck(RecordingTransport):
        def send(self, request: PutMetricDataRequest) -> Outcome:
            sending.set()
            assert free.wait(60)
            return super().send(request)

    manual = ManualSink(Stuck())
    manual.wall = START + 0.1
    manual.offer(3)
    manual.wall = START + MINUTE
    manual.sink.start()
    assert sending.wait(60)
    manual.offer(4)
    with capture_logs() as log:
        assert not manual.sink.close(0.05)
    (lost,) = log
    assert (lost["event"], lost["requests"], lost["windows"]) == ("data_lost", 1, 1)
    free.set()
    assert manual.sink.close(60)


def test_internal_error_does_not_end_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "MAX_WAIT", 0.05)
    transport = RecordingTransport()
    manual = ManualSink(transport)
    healthy = manual.sink._slot

    def fail() -> Machine:
        raise RuntimeError("a bug")

    manual.sink._slot = SendSlot(fail, MINUTE)
    manual.offer(3)
    manual.sink.start()
    wait_for(lambda: (manual.value("sink_errors_total", code="RuntimeError") or 0) >= 2)
    wait_for(lambda: "a bug" in manual.sink.status()["state"])
    assert manual.value("sink_up") == 0
    manual.sink._slot = healthy
    manual.wall += 2 * MINUTE
    wait_for(lambda: transport.sum_of("ExecutionsCompleted") == 3)
    assert manual.sink.close(60)


def test_thread_death_is_reported() -> None:

    class Deadly(RecordingTransport):
        def send(self, request: PutMetricDataRequest) -> Outcome:
            raise SystemExit("a library's idea")

    manual = ManualSink(Deadly())
    manual.offer(3)
    manual.wall += MINUTE
    manual.telemetry.sink_up.labels("cloudwatch").set(1)
    with capture_logs() as log:
        manual.sink.start()
        manual.sink._thread.join(60)
    assert not manual.sink._thread.is_alive()
    assert [event["event"] for event in log] == ["thread_died", "data_lost"]
    assert manual.value("sink_up") == 0
    assert "a library's idea" in manual.sink.status()["state"]


def test_blank_field_drops_its_dimension_set() -> None:
    transport = RecordingTransport()
    manual = ManualSink(
        transport, replace(MACHINE, cluster=" \n"), (("InstanceId",), ("ClusterName",))
    )
    with capture_logs() as log:
        for _ in range(3):
            manual.minute(1)
    (dropped,) = [event for event in log if event["event"] == "dimension_sets_dropped"]
    assert dropped["missing"] == ["ClusterName"]
    assert transport.sum_of("ExecutionsCompleted") == 3
