"""Requests are sent in the order of time, and a loss is counted."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from neuron_exporter.model import Machine
from neuron_exporter.sinks.delivery import sink as delivery_sink
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import MAX_FAILURES
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp import sink as sink_module
from neuron_exporter.sinks.otlp.request import ExportRequest
from tests.support.otlp_sinks import (
    DELIVERED,
    MACHINE,
    MINUTE,
    START,
    UNAVAILABLE,
    ManualOtlpSink,
    busy,
)


def test_backlog_comes_before_live_points() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = UNAVAILABLE
    for _ in range(5):
        manual.minute("app")
    assert manual.value("sink_up", sink="otlp") == 0
    manual.transport.outcome = DELIVERED
    manual.minute("app")
    assert manual.completed() == [(60.0 * n, n) for n in range(1, 7)]
    assert manual.value("sink_up", sink="otlp") == 1
    stamps = [request.stamp for request in manual.transport.attempts]
    # Each interval tries the oldest request first; only then it goes on.
    assert stamps[:5] == [START + MINUTE] * 5
    assert stamps[5:] == sorted(stamps[5:])


def test_a_rejected_request_does_not_block_the_others() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = Outcome(Verdict.REJECTED, "HTTP400", "no")
    manual.minute("app")
    manual.transport.outcome = DELIVERED
    manual.minute("app")
    assert manual.completed() == [(120, 2)]
    dropped = manual.value("sink_dropped_requests_total", sink="otlp", reason="rejected")
    assert dropped == 1


@pytest.mark.parametrize("probe", [DELIVERED, Outcome(Verdict.REJECTED, "HTTP400")])
def test_a_request_that_fails_while_the_endpoint_answers_is_dropped(probe: Outcome) -> None:
    manual = ManualOtlpSink()
    failing = START + 2 * MINUTE

    def answer(request: ExportRequest) -> Outcome:
        if not request.body:
            return probe
        return UNAVAILABLE if request.stamp == failing else DELIVERED

    manual.transport.outcome_of = answer
    for _ in range(15):
        manual.minute("app")
    assert [time for time, _ in manual.completed()] == [60.0 * n for n in range(1, 16) if n != 2]
    dropped = manual.value("sink_dropped_requests_total", sink="otlp", reason="attempts")
    assert dropped == 1
    tries = [each for each in manual.transport.attempts if each.stamp == failing and each.body]
    assert len(tries) == MAX_FAILURES + 1


@pytest.mark.parametrize("probe", [DELIVERED, UNAVAILABLE, Outcome(Verdict.REJECTED, "HTTP400")])
def test_no_request_is_dropped_in_a_long_outage(probe: Outcome) -> None:
    """Whatever a receiver answers to a request without points."""
    manual = ManualOtlpSink()
    manual.transport.outcome_of = lambda request: UNAVAILABLE if request.body else probe
    for _ in range(30):
        manual.minute("app")
    manual.transport.outcome_of = lambda _: DELIVERED
    manual.minute("app")
    assert [time for time, _ in manual.completed()] == [60.0 * n for n in range(1, 32)]


@pytest.mark.parametrize("agrees", [True, False])
def test_requests_that_are_too_old_are_dropped_once_the_clock_is_right(agrees: bool) -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = UNAVAILABLE
    manual.minute("app")
    manual.wall += 15 * 86400.0
    manual.uptime += 15 * 86400.0
    manual.transport.outcome = DELIVERED._replace(clock_agrees=agrees)
    for _ in range(3):
        manual.minute("app")
    dropped = manual.value("sink_dropped_requests_total", sink="otlp", reason="too_old")
    assert dropped == (1 if agrees else None)


def test_a_pause_that_the_endpoint_asks_for_is_kept() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = UNAVAILABLE._replace(retry_after=150.0)
    manual.minute("app")
    manual.transport.outcome = DELIVERED
    manual.minute("app")
    manual.minute("app")
    assert len(manual.transport.attempts) == 1
    manual.minute("app")
    assert manual.completed() == [(60.0 * n, n) for n in range(1, 5)]


def test_a_partial_success_is_reported() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = Outcome(Verdict.DELIVERED, "PartialSuccess", "2 points rejected")
    with capture_logs() as log:
        manual.minute("app")
    assert manual.sink.status()["state"] == "PartialSuccess: 2 points rejected"
    assert [event["event"] for event in log] == ["delivery_failing"]
    assert manual.value("sink_queue_requests", sink="otlp") == 0


def test_the_last_points_of_a_fleet_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleeps.append)
    monkeypatch.setattr(delivery_sink, "time", clock)
    manual = ManualOtlpSink(spread=True)
    manual.offer(*busy(["app"]))
    manual.sink.start()
    assert manual.sink.close(10)
    assert sleeps == [SendSlot(lambda: MACHINE, MINUTE).at_stop(10.0)]
    assert [value for _, value in manual.completed()] == [1]


def test_too_many_waiting_intervals_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "MAX_INTERVALS", 3)
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), endpoint=None, sigv4=True)
    for _ in range(5):
        manual.minute("app")
    dropped = manual.value("sink_dropped_requests_total", sink="otlp", reason="too_many_windows")
    assert dropped == 2
    manual.machine = MACHINE
    manual.wait(MINUTE)
    assert [time for time, _ in manual.completed()] == [180, 240, 300, 360]
