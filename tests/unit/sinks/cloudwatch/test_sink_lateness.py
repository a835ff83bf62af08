"""Late reports, late identity and slow sinks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.window import MAX_OPEN
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import MAX_FAILURES
from neuron_exporter.sinks.delivery.sink import OnDrop
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.transport import Outcome
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import (
    DELIVERED,
    MACHINE,
    MINUTE,
    STANDARD,
    START,
    THROTTLED,
    ManualSink,
    RecordingTransport,
    memory_spool,
)


def test_late_report_sends_no_second_heartbeat() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    for _ in range(2):
        manual.minute(1)
    manual.offer(5, age=2 * MINUTE - 1)
    for _ in range(2):
        manual.minute(1)
    stamps = [stamp for stamp, _ in transport.heartbeats()]
    assert len(stamps) == len(set(stamps)) == 4
    assert transport.sum_of("ExecutionsCompleted") == 9


def test_repeated_minutes_have_one_heartbeat() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    for _ in range(5):
        manual.minute(1)
    manual.wall -= 3 * MINUTE
    for _ in range(6):
        manual.minute(1)
    stamps = [stamp for stamp, _ in transport.heartbeats()]
    assert len(stamps) == len(set(stamps))
    assert transport.sum_of("ExecutionsCompleted") == 11


def test_clock_set_back_by_minutes_delays_no_window() -> None:
    transport = RecordingTransport()
    manual = ManualSink(transport)
    manual.minute(1)
    manual.wall -= 3 * MINUTE
    manual.wait(0)
    sent = len(transport.sent)
    manual.minute(1)
    assert len(transport.sent) == sent + 1


def test_memory_of_sent_heartbeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest windows are remembered: those that a late report may open again."""
    monkeypatch.setattr(sink_module, "MAX_REMEMBERED_HEARTBEATS", 3)
    transport = RecordingTransport()
    manual = ManualSink(transport)
    for _ in range(10):
        manual.minute(1)
    sent = [START + seconds for seconds, _ in transport.heartbeats()]
    assert list(manual.sink._heartbeats_sent) == sent[-3:]


def test_too_many_windows_are_counted() -> None:
    manual = ManualSink(RecordingTransport())
    for _ in range(MAX_OPEN + 5):
        manual.offer(1)
        manual.wall += MINUTE
    with capture_logs() as log:
        manual.wait(0)
    assert manual.dropped("too_many_windows") == 5
    assert ("delivery_failing", "TooManyWindows") in [(e["event"], e.get("code")) for e in log]


def test_spool_waits_for_task_id() -> None:
    for known_after, wanted in ((30.0, "7f3a"), (1000.0, "")):
        opened: list[str] = []
        machine, now = [MACHINE], [START]

        def open_spool(known: Machine, on_drop: OnDrop, opened: list[str] = opened) -> Spool:
            opened.append(known.task_id)
            return memory_spool()(known, on_drop)

        sink = CloudWatchSink(
            STANDARD,
            SinkSettings(
                namespace="NeuronExporter",
                region="us-east-1",
                interval=10.0,
                dimension_sets=[["InstanceId"]],
                spool_names=["task_id"],
                spread=False,
            ),
            lambda machine=machine: machine[0],  # type: ignore[misc]
            lambda _: RecordingTransport(),
            Telemetry(),
            open_spool,
            clock=lambda now=now: now[0],  # type: ignore[misc]
            monotonic=lambda now=now: now[0],  # type: ignore[misc]
        )
        for _ in range(10):
            now[0] += 10
            if now[0] - START >= known_after:
                machine[0] = replace(MACHINE, task_id="7f3a")
            sink.run_once()
        assert opened == [wanted]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Machine(task_id="a"), Machine(task_id="b")),
        (Machine(instance_id="i-1", task_id="a"), Machine(instance_id="i-1", task_id="b")),
        (Machine(node_name="n1"), Machine(node_name="n2")),
        (Machine(pod_uid="x"), Machine(pod_uid="y")),
    ],
)
def test_send_slots_differ_by_any_id(one: Machine, other: Machine) -> None:
    delays = {SendSlot(lambda its=each: its, 60.0).after_window() for each in (one, other)}  # type: ignore[misc]
    assert len(delays) == 2
    assert all(0 <= delay < 60 for delay in delays)


class BacklogThrottled(RecordingTransport):
    """A transport that accepts new requests and throttles old ones."""

    def __init__(self) -> None:
        super().__init__(THROTTLED)
        self.newest = 0.0

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Deliver a request that is newer than all previous ones."""
        stamp = request.stamp
        is_new = stamp > self.newest
        self.newest = max(self.newest, stamp)
        if self.outcome is DELIVERED and not is_new:
            return THROTTLED._replace(of_request=False)
        return super().send(request)


def test_throttling_drops_nothing() -> None:
    transport = BacklogThrottled()
    manual = ManualSink(transport)
    for _ in range(3):
        manual.minute(1)
    transport.outcome = DELIVERED
    for _ in range(3 * MAX_FAILURES):
        manual.minute(0)
    assert manual.value("sink_queue_requests") == 3
    assert manual.dropped("attempts") == 0
