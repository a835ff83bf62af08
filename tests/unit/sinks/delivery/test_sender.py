"""What fails is said, is tried again, and is at last given up; nothing is lost unsaid."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Machine, Moment, Selection
from neuron_exporter.sinks.cloudwatch import sink as sink_module
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Transport
from neuron_exporter.sinks.delivery.jitter import Turn
from neuron_exporter.sinks.delivery.sender import MOST_FAILURES
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Bench, executions, report, runtime
from tests.support.waiting import wait_for
from tests.unit.sinks.cloudwatch.test_sink import (
    DELIVERED,
    HERE,
    INVALID,
    STANDARD,
    THROTTLED,
    Line,
)

START = 1_700_000_040.0
MINUTE = 60.0
DAY = 86400.0


class Cranked:
    """A sink whose clocks and cycles are moved by hand; a window is a minute."""

    def __init__(
        self,
        line: Transport,
        machine: Machine = HERE,
        sets: tuple[tuple[str, ...], ...] = (("InstanceId",),),
        since: float = START,
        selection: Selection = STANDARD,
    ) -> None:
        self.wall = since
        self.uptime = 0.0
        self.machine = machine
        self.line = line
        self.telemetry = Telemetry()
        self.sink = CloudWatchSink(
            selection,
            Settings(
                namespace="NeuronExporter",
                region="us-east-1",
                interval=MINUTE,
                dimension_sets=sets,
                spread=False,
            ),
            lambda: self.machine,
            lambda _: self.connect(),
            self.telemetry,
            clock=lambda: self.wall,
            monotonic=lambda: self.uptime,
        )
        self._bench = Bench()

    def connect(self) -> Transport:
        """Open the transport."""
        return self.line

    def wait(self, seconds: float) -> None:
        """Let time pass, and the sink do what is due."""
        self.wall += seconds
        self.uptime += seconds
        self.sink.step()

    def offer(self, completed: int, age: float = 0.0) -> None:
        """Offer a report of now with so many executions."""
        busy = runtime(execution_stats=executions(completed))
        snapshot = self._bench.collect(report(busy)).snapshot
        self.sink.offer(replace(snapshot, taken_at=Moment(self.wall - age, self.uptime)))

    def minute(self, completed: int) -> None:
        """Offer a report, and let its window end."""
        self.offer(completed)
        self.wait(MINUTE)

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(
            f"neuron_exporter_{name}", {"sink": "cloudwatch", **labels}
        )

    def dropped(self, reason: str) -> float:
        """How many requests were given up for this reason."""
        return self.value("sink_dropped_requests_total", reason=reason) or 0.0


def beats(line: Line) -> list[tuple[float, float]]:
    """Stamps, counted from the start, and values of the heartbeats."""
    return [
        (d["Timestamp"].timestamp() - START, d["Value"])
        for d in line.delivered
        if d["MetricName"] == "ExporterHeartbeat"
    ]


def executed(request: list[Datum]) -> float | None:
    """How many executions a request tells of."""
    return next((d["Value"] for d in request if d["MetricName"] == "ExecutionsCompleted"), None)


def test_a_start_late_in_a_window_is_no_outage() -> None:
    """A source that speaks in its grace never makes a heartbeat of zero."""
    line = Line()
    cranked = Cranked(line, since=START + 55)
    cranked.wait(5.5)
    cranked.wait(50)
    cranked.offer(3)
    cranked.wait(10)
    assert beats(line) == [(60, 1.0)]


def test_a_source_that_never_speaks_is_dead_after_its_grace() -> None:
    """Zeros begin with the first window that ends a minute after the start."""
    line = Line()
    cranked = Cranked(line, since=START + 55)
    cranked.wait(5.5)
    for _ in range(2):
        cranked.wait(MINUTE)
    assert beats(line) == [(60, 0.0), (120, 0.0)]


def test_a_clock_that_is_set_ends_no_patience() -> None:
    """Neither the source's grace nor the wait for the machine's fields is over because the clock
    was set at boot."""
    line = Line()
    cranked = Cranked(line, replace(HERE, instance_type=""), (("InstanceId",), ("InstanceType",)))
    cranked.wall += 10 * DAY
    cranked.wait(1)
    assert line.sent == []
    cranked.machine = HERE
    cranked.wait(50)
    cranked.offer(3)
    cranked.wait(9)
    assert {value for _, value in beats(line)} == {1.0}
    names = {d["Dimensions"][0]["Name"] for d in line.delivered}
    assert names == {"InstanceId", "InstanceType"}


def test_a_refused_request_is_seen_until_one_is_delivered() -> None:
    """A request that CloudWatch refuses for good shows in the gauge, on the page, once in the
    log; the next delivery clears it."""
    line = Line()
    cranked = Cranked(line)
    cranked.minute(1)
    line.outcome = INVALID
    with capture_logs() as said:
        for _ in range(3):
            cranked.minute(1)
            assert cranked.value("sink_up") == 0
            assert cranked.sink.status()["state"] == "InvalidParameterValue: no"
        line.outcome = DELIVERED
        cranked.minute(1)
    assert cranked.value("sink_up") == 1
    assert cranked.sink.status()["state"] == "delivering"
    assert [event["event"] for event in said] == ["not_delivering", "delivering_again"]
    assert cranked.dropped("rejected") == 3


def test_one_refused_request_among_others_is_seen_too() -> None:
    """What is lost beside a delivered request is trouble, without a line in every cycle."""
    line = Line()
    cranked = Cranked(line)
    with capture_logs() as said:
        for _ in range(3):
            cranked.offer(1)
            cranked.offer(1, age=15 * DAY)
            cranked.wait(MINUTE)
            assert cranked.value("sink_up") == 0
    assert line.sum_of("ExecutionsCompleted") == 3
    assert [(event["event"], event["code"]) for event in said] == [("not_delivering", "too_old")]
    assert cranked.dropped("too_old") == 3


def test_stamps_that_would_be_refused_are_not_sent_later() -> None:
    """What has waited until its stamp is illegal, as the clock was set, is dropped and counted."""
    line = Line(THROTTLED)
    cranked = Cranked(line)
    cranked.minute(1)
    line.outcome = DELIVERED
    cranked.wall -= 3 * 3600
    cranked.sink._pause()
    for _ in range(2):  # a delivery shows that it is the clock of now that is right
        cranked.wait(MINUTE)
    assert cranked.dropped("too_far_ahead") == 1
    assert cranked.value("sink_queue_requests") == 0
    assert executed(line.delivered) is None


def cannot_connect(cranked: Cranked, line: Line) -> Callable[[], None]:
    """A transport that cannot be opened; gives what repairs it."""

    def refuse() -> Transport:
        raise ValueError("no such profile")

    cranked.connect = refuse  # type: ignore[method-assign]
    return lambda: setattr(cranked, "connect", lambda: line)


def raises(cranked: Cranked, line: Line) -> Callable[[], None]:
    """A transport with a bug; gives what repairs it."""
    send = line.send

    def fail(*_: Any) -> Outcome:
        raise ValueError("no such profile")

    line.send = fail  # type: ignore[method-assign]
    return lambda: setattr(line, "send", send)


@pytest.mark.parametrize("broken", [cannot_connect, raises])
def test_no_window_is_lost_by_a_transport_that_raises(
    broken: Callable[[Cranked, Line], Callable[[], None]],
) -> None:
    """A transport that cannot be opened, and one with a bug, delay data and lose none."""
    line = Line()
    cranked = Cranked(line)
    repair = broken(cranked, line)
    for _ in range(3):
        cranked.minute(2)
    assert cranked.value("sink_up") == 0
    assert cranked.sink.status()["state"].endswith("no such profile")
    assert cranked.value("sink_errors_total", code="ValueError")
    repair()
    cranked.minute(2)
    assert line.sum_of("ExecutionsCompleted") == 8
    assert cranked.value("sink_up") == 1


def test_windows_of_an_unknown_machine_are_counted_when_they_are_dropped() -> None:
    """A machine that stays unknown loses windows, and each is counted."""
    cranked = Cranked(Line(), Machine())
    for _ in range(5):
        cranked.minute(1)
    assert cranked.dropped("identity") == 5
    assert cranked.value("sink_up") == 0


def test_a_stop_during_patience_sends_under_the_sets_that_are_known() -> None:
    """A run that is shorter than the wait for the machine's fields loses nothing."""
    line = Line()
    cranked = Cranked(line, sets=(("InstanceId",), ("ClusterName",)))
    cranked.offer(4)
    cranked.sink._safely(cranked.sink._flush_rest, None)
    assert line.sum_of("ExecutionsCompleted") == 4


class Poisoned(Line):
    """A transport that fails for ever, in a way that nobody knows, for one request."""

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Keep every request but one."""
        if executed(datums) == 13:
            return Outcome(THROTTLED.verdict, "Unheard", "of")
        return super().send(namespace, datums)


def test_a_request_that_fails_for_ever_holds_up_no_other() -> None:
    """It makes way for the rest of the queue, which is delivered, and is given up at last."""
    line = Poisoned(THROTTLED)
    cranked = Cranked(line)
    for completed in (13, 1, 1, 1):
        cranked.minute(completed)
    line.outcome = DELIVERED
    cranked.minute(1)
    cranked.minute(1)
    assert line.sum_of("ExecutionsCompleted") == 5
    assert cranked.value("sink_up") == 1
    for _ in range(MOST_FAILURES - 3):
        cranked.minute(0)
    assert (cranked.value("sink_queue_requests"), cranked.dropped("attempts")) == (1, 0)
    cranked.minute(0)
    assert (cranked.value("sink_queue_requests"), cranked.dropped("attempts")) == (0, 1)
    assert cranked.value("sink_up") == 0
    assert cranked.sink.status()["state"] == "Unheard: given up: of"


def test_an_outage_uses_up_nobodys_attempts() -> None:
    """While nothing is delivered, no request is to blame."""
    line = Line(THROTTLED)
    cranked = Cranked(line)
    for _ in range(3 * MOST_FAILURES):
        cranked.minute(1)
    line.outcome = DELIVERED
    for _ in range(4):
        cranked.minute(1)
    assert line.sum_of("ExecutionsCompleted") == 3 * MOST_FAILURES + 4
    assert cranked.dropped("attempts") == 0


def test_an_outage_without_live_data_uses_up_nobodys_attempts() -> None:
    """That nothing else is there to be sent does not make a request the one to blame."""
    line = Line(THROTTLED)
    without_heartbeat, _ = for_cloudwatch("standard", [], ["ExporterHeartbeat"])
    cranked = Cranked(line, selection=without_heartbeat)
    cranked.minute(3)
    for _ in range(3 * MOST_FAILURES):
        cranked.wait(MINUTE)
    assert len(line.sent) > MOST_FAILURES
    line.outcome = DELIVERED
    cranked.wait(MINUTE)
    assert line.sum_of("ExecutionsCompleted") == 3


def test_a_stop_goes_before_what_has_waited_for_long() -> None:
    """A stop in the middle of catching up sends the last window first, and then the rest."""
    line = Line(THROTTLED)
    cranked = Cranked(line)
    for _ in range(4):
        cranked.minute(1)
    line.outcome = DELIVERED
    line.sent.clear()
    send = line.send

    def send_and_stop(namespace: str, datums: list[Datum]) -> Outcome:
        if len(line.sent) == 1:  # the first that had waited
            cranked.sink._stopping.set()
        return send(namespace, datums)

    line.send = send_and_stop  # type: ignore[method-assign]
    cranked.minute(5)
    cranked.offer(7)
    cranked.sink._safely(cranked.sink._flush_rest, None)
    assert [executed(request) for request in line.sent] == [5, 1, 7, 1, 1, 1]


def test_a_stop_that_takes_too_long_says_what_it_leaves() -> None:
    """What cannot be sent in time is counted in the log before the process ends."""
    free, asked = threading.Event(), threading.Event()

    class Stuck(Line):
        def send(self, namespace: str, datums: list[Datum]) -> Outcome:
            asked.set()
            assert free.wait(30)
            return super().send(namespace, datums)

    cranked = Cranked(Stuck())
    cranked.wall = START + 0.1
    cranked.offer(3)
    cranked.wall = START + MINUTE
    cranked.sink.start()
    assert asked.wait(10)
    cranked.offer(4)
    with capture_logs() as said:
        assert not cranked.sink.close(0.05)
    (lost,) = said
    assert (lost["event"], lost["requests"], lost["windows"]) == ("data_lost", 1, 1)
    free.set()
    assert cranked.sink.close(10)


def test_no_bug_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in what comes before sending is counted and said, and then goes on."""
    monkeypatch.setattr(sink_module, "_LONGEST_WAIT", 0.05)
    line = Line()
    cranked = Cranked(line)
    healthy = cranked.sink._turn

    def fail() -> Machine:
        raise RuntimeError("a bug")

    cranked.sink._turn = Turn(fail, MINUTE)
    cranked.offer(3)
    cranked.sink.start()
    wait_for(lambda: (cranked.value("sink_errors_total", code="RuntimeError") or 0) >= 2)
    wait_for(lambda: "a bug" in cranked.sink.status()["state"])
    assert cranked.value("sink_up") == 0
    cranked.sink._turn = healthy
    cranked.wall += 2 * MINUTE
    wait_for(lambda: line.sum_of("ExecutionsCompleted") == 3)
    assert cranked.sink.close(10)


def test_the_death_of_the_thread_is_told() -> None:
    """Should the thread end all the same, the log and the gauge say so."""

    class Deadly(Line):
        def send(self, namespace: str, datums: list[Datum]) -> Outcome:
            raise SystemExit("a library's idea")

    cranked = Cranked(Deadly())
    cranked.offer(3)
    cranked.wall += MINUTE
    cranked.telemetry.sink_up.labels("cloudwatch").set(1)
    with capture_logs() as said:
        cranked.sink.start()
        cranked.sink._thread.join(10)
    assert not cranked.sink._thread.is_alive()
    assert [event["event"] for event in said] == ["thread_died", "data_lost"]
    assert cranked.value("sink_up") == 0
    assert "a library's idea" in cranked.sink.status()["state"]


def test_a_field_that_is_nothing_legal_is_lacking() -> None:
    """A name of spaces is no dimension: its set is waited for, and then named as dropped."""
    line = Line()
    cranked = Cranked(line, replace(HERE, cluster=" \n"), (("InstanceId",), ("ClusterName",)))
    with capture_logs() as log:
        for _ in range(3):
            cranked.minute(1)
    (said,) = [entry for entry in log if entry["event"] == "dimension_sets_dropped"]
    assert said["missing"] == ["ClusterName"]
    assert line.sum_of("ExecutionsCompleted") == 3
