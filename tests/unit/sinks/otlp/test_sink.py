"""Each interval is sent once, at its end and in order, with series that start and end."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Machine
from neuron_exporter.sinks.delivery import sink as delivery_sink
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import MAX_FAILURES
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp import sink as sink_module
from neuron_exporter.sinks.otlp.request import ExportRequest
from tests.support.otlp_sinks import (
    DELIVERED,
    FULL,
    MACHINE,
    MINUTE,
    START,
    UNAVAILABLE,
    ManualOtlpSink,
    busy,
)
from tests.support.reports import ecc

COMPLETED = "execution_status_total"
TOTAL = {"status_type": "completed"}


def completed(manual: ManualOtlpSink, tag: str = "app") -> list[tuple[float, float | None]]:
    """Return the delivered numbers of completed executions of a runtime."""
    return manual.transport.seconds(COMPLETED, runtime_tag=tag, **TOTAL)


def test_points_have_the_time_of_the_interval_s_end() -> None:
    manual = ManualOtlpSink()
    for _ in range(3):
        manual.minute("app")
    assert completed(manual) == [(60, 1), (120, 2), (180, 3)]


def test_the_last_report_of_an_interval_counts() -> None:
    manual = ManualOtlpSink()
    for number in range(1, 6):
        manual.offer(*busy(["app"], number))
        manual.wait(12)
    assert completed(manual) == [(60, 15)]


def test_values_are_repeated_while_they_are_fresh() -> None:
    """With a report period that is longer than the interval, as a scrape would see it."""
    manual = ManualOtlpSink(interval=5.0)
    manual.offer(*busy(["app"]))
    for _ in range(4):
        manual.wait(5)
    assert completed(manual) == [(5, 1), (10, 1), (15, 1), (20, None)]


def test_a_counter_starts_with_the_last_report_that_did_not_have_it() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.minute("app", "late")
    manual.minute("app", "late")
    starts = {
        tag: {
            point.start / 1e9 - START for point in manual.transport.of(COMPLETED, runtime_tag=tag)
        }
        for tag in ("app", "late")
    }
    assert starts == {"app": {0.0}, "late": {50.0}}


def test_a_gauge_has_no_start() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    assert {p.start for p in manual.transport.of("neuroncore_utilization_ratio")} == {0}


def test_a_series_that_ends_is_marked_once() -> None:
    manual = ManualOtlpSink()
    manual.minute("app", "short")
    for _ in range(3):
        manual.minute("app")
    marked = [p for p in manual.transport.points if p.value is None]
    assert marked
    assert len({p.series for p in marked}) == len(marked)


def test_all_series_end_when_the_source_is_silent() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.wait(MINUTE)
    manual.wait(MINUTE)
    assert completed(manual) == [(60, 1), (120, None)]
    assert manual.transport.seconds("neuron_exporter_up")[-1][0] == 180


def test_nothing_is_marked_at_the_end() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.sink.start()
    assert manual.sink.close(10)
    assert all(point.value is not None for point in manual.transport.points)


def test_the_open_interval_is_sent_at_the_end() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.wait(20)
    manual.offer(*busy(["app"], 5))
    manual.sink.start()
    assert manual.sink.close(10)
    assert completed(manual) == [(60, 1), (80, 6)]


def test_points_have_the_labels_of_the_machine_and_fixed_ones() -> None:
    manual = ManualOtlpSink(labels=(("team", "a"),), identity_labels=["instance_id"])
    manual.minute("app")
    (point,) = manual.transport.of(COMPLETED, runtime_tag="app", **TOTAL)
    assert point.labels == {"team": "a", "instance_id": "i-1", "runtime_tag": "app", **TOTAL}
    (info,) = manual.transport.of("instance_info")
    assert info.labels["region"] == "us-east-1"


def test_labels_stay_as_in_the_first_healthy_report() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.machine = Machine(instance_id="i-1", region="us-east-1", subnet_id="late")
    manual.minute("app")
    assert not manual.transport.of(COMPLETED, subnet_id="late")
    assert len({point.resource for point in manual.transport.points}) == 1


def test_own_metrics_have_the_labels_of_the_machine() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    (up,) = manual.transport.of("neuron_exporter_up")
    assert up.labels["instance_id"] == "i-1"
    (restarts,) = manual.transport.of("neuron_exporter_reports_total")
    assert (restarts.kind, restarts.start / 1e9) == ("sum", START)


def test_backlog_comes_before_live_points() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = UNAVAILABLE
    for _ in range(5):
        manual.minute("app")
    assert manual.value("sink_up", sink="otlp") == 0
    manual.transport.outcome = DELIVERED
    manual.minute("app")
    assert completed(manual) == [(60.0 * n, n) for n in range(1, 7)]
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
    assert completed(manual) == [(120, 2)]
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
    assert [time for time, _ in completed(manual)] == [60.0 * n for n in range(1, 16) if n != 2]
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
    assert [time for time, _ in completed(manual)] == [60.0 * n for n in range(1, 32)]


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
    assert completed(manual) == [(60.0 * n, n) for n in range(1, 5)]


def test_a_partial_success_is_reported() -> None:
    manual = ManualOtlpSink()
    manual.transport.outcome = Outcome(Verdict.DELIVERED, "PartialSuccess", "2 points rejected")
    with capture_logs() as log:
        manual.minute("app")
    assert manual.sink.status()["state"] == "PartialSuccess: 2 points rejected"
    assert [event["event"] for event in log] == ["delivery_failing"]
    assert manual.value("sink_queue_requests", sink="otlp") == 0


def test_a_clock_that_is_set_back_repeats_no_time() -> None:
    manual = ManualOtlpSink()
    for _ in range(3):
        manual.minute("app")
    manual.wall -= 150.0
    for _ in range(4):
        manual.minute("app")
    times = [time for time, _ in completed(manual)]
    assert times[:3] == [60, 120, 180]
    assert times[-1] == 240
    assert len(times) == len(set(times))
    assert all(point.start <= point.time for point in manual.transport.points)


def test_a_clock_that_jumps_ahead_sends_no_past_intervals() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    years = 10 * 365 * 86400.0
    manual.wall += years
    manual.minute("app")
    times = [time for time, value in completed(manual) if value is not None]
    assert times == [60, years + 120]


def test_the_first_interval_waits_for_the_machine_s_id() -> None:
    manual = ManualOtlpSink(machine=Machine(region="us-east-1"), since=START + 30)
    manual.wait(25)
    manual.offer(*busy(["app"]))
    manual.wait(5)
    assert not manual.transport.attempts
    manual.machine = MACHINE
    manual.wait(5)
    assert completed(manual) == [(60, 1)]


def test_a_clock_that_is_set_back_before_the_start() -> None:
    manual = ManualOtlpSink()
    manual.transport.history = None
    manual.minute("app")
    manual.wall -= 3600.0
    manual.minute("app")
    manual.minute("app")
    later = manual.transport.of(COMPLETED, **TOTAL)[1:]
    assert [point.value for point in later] == [2, 3]
    assert len({point.start for point in later}) == 1
    own = manual.transport.of("neuron_exporter_source_bytes_total")[1:]
    assert all(point.start <= point.time for point in own)


def test_labels_that_become_known_with_the_first_healthy_report() -> None:
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), since=START + 30)
    manual.wait(20)
    manual.offer(neuron_hardware_info={"neuron_device_count": 0, "error": "no driver"})
    manual.wait(10)
    manual.machine = MACHINE
    manual.minute("app")
    assert {p.labels.get("region") for p in manual.transport.of(COMPLETED)} == {"us-east-1"}


def test_an_id_that_is_known_after_the_first_report_is_on_all_points() -> None:
    manual = ManualOtlpSink(machine=Machine(region="us-east-1"), since=START + 30)
    manual.offer(*busy(["app"]))
    manual.wait(8)
    manual.machine = MACHINE
    manual.wait(17)
    manual.offer(*busy(["app"]))
    manual.wait(5)
    assert completed(manual)
    assert {point.labels["instance_id"] for point in manual.transport.points} == {"i-1"}


def test_a_clock_that_jumps_ahead_invents_no_intervals() -> None:
    manual = ManualOtlpSink(since=START + 10)
    manual.wall += 2 * 3600.0
    manual.offer(*busy(["app"]))
    manual.wait(50)
    assert len(manual.transport.seconds("neuron_exporter_up")) == 1


def test_stale_values_are_not_sent_at_the_end() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.offer(*busy(["app"]))
    manual.wait(50)
    manual.sink.start()
    assert manual.sink.close(10)
    assert completed(manual) == [(60, 1)]


def test_the_last_points_of_a_fleet_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleeps.append)
    monkeypatch.setattr(delivery_sink, "time", clock)
    manual = ManualOtlpSink(spread=True)
    manual.offer(*busy(["app"]))
    manual.sink.start()
    assert manual.sink.close(10)
    assert sleeps == [SendSlot(lambda: MACHINE, MINUTE).at_stop(10.0)]
    assert [value for _, value in completed(manual)] == [1]


def test_a_clock_that_is_set_back_is_reported() -> None:
    manual = ManualOtlpSink(interval=5.0)
    for _ in range(400):
        manual.offer(*busy(["app"]))
        manual.wait(5)
    manual.wall -= 1800.0
    for _ in range(10):
        manual.offer(*busy(["app"]))
        manual.wait(5)
    assert len(completed(manual)) == 400
    assert manual.sink.status()["state"].startswith("ClockSetBack")


def test_a_total_of_the_driver_starts_with_its_first_point() -> None:
    """Behind a collector that makes deltas of it, it would look like new events otherwise."""
    manual = ManualOtlpSink()
    for corrected in (12, 13):
        manual.wait(50)
        hardware = ecc({"mem_ecc_corrected": corrected})
        manual.offer(system_data={"neuron_hw_counters": hardware})
        manual.wait(10)
    events = manual.transport.of("hardware_ecc_events_total", event_type="mem_ecc_corrected")
    of_first = [point for point in events if point.labels["neuron_device_index"] == "0"]
    times = [(point.value, point.start / 1e9 - START) for point in of_first]
    assert times == [(12, 60), (13, 60)]


def test_one_failing_own_metric_costs_only_own_metrics() -> None:
    manual = ManualOtlpSink()

    def fail() -> float:
        raise RuntimeError("gone")

    manual.telemetry.report_period.set_function(fail)
    manual.minute("app")
    assert completed(manual) == [(60, 1)]
    assert manual.sink.status()["state"] == "RuntimeError: own metrics: gone"


def test_points_are_sent_without_an_id_after_a_minute() -> None:
    manual = ManualOtlpSink(machine=Machine())
    manual.minute("app")
    manual.wait(5)
    assert completed(manual) == [(60, 1)]


def test_a_signature_needs_the_region() -> None:
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), endpoint=None, sigv4=True)
    manual.minute("app")
    manual.minute("app")
    assert not manual.transport.attempts
    assert manual.sink.status()["state"] == "IdentityIncomplete: unknown for this machine: region"
    manual.machine = MACHINE
    manual.wait(MINUTE)
    assert [point[0] for point in completed(manual)] == [60, 120, 180]


def test_too_many_waiting_intervals_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "MAX_INTERVALS", 3)
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), endpoint=None, sigv4=True)
    for _ in range(5):
        manual.minute("app")
    dropped = manual.value("sink_dropped_requests_total", sink="otlp", reason="too_many_windows")
    assert dropped == 2
    manual.machine = MACHINE
    manual.wait(MINUTE)
    assert [time for time, _ in completed(manual)] == [180, 240, 300, 360]


def test_a_reload_changes_the_selection() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    only, _ = select_for_prometheus("none", ["neuroncore_utilization_ratio"], [])
    manual.sink.reconfigure(only, manual.settings)
    manual.minute("app")
    assert [value for _, value in completed(manual)] == [1, None]
    assert len({p.time for p in manual.transport.of("neuroncore_utilization_ratio")}) == 2


def test_the_budget_suppresses_the_largest_preset_first() -> None:
    unlimited = ManualOtlpSink()
    unlimited.minute("app")
    limit = unlimited.sink.budget_status.wanted // 3
    manual = ManualOtlpSink(monthly_bytes=limit, keep=["execution_status_total"])
    manual.minute("app")
    status = manual.sink.budget_status
    assert status.wanted > limit >= status.published
    assert COMPLETED not in status.suppressed
    assert completed(manual) == [(60, 1)]
    sent = {point.name for point in manual.transport.points}
    assert not sent & status.suppressed.keys()
    presets = {row.name: row.preset for row in FULL.rows}
    kept = {presets[name] for name in sent & presets.keys() if name != COMPLETED}
    assert max(kept) <= min(presets[name] for name in status.suppressed)
    assert manual.value("otlp_budget_dropped_metrics") == len(status.suppressed)


def test_points_and_bytes_of_an_interval_are_shown() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    values = [point for point in manual.transport.points if point.value is not None]
    assert manual.value("otlp_points") == len(values)
    assert manual.value("otlp_bytes") == sum(len(r.body) for r in manual.transport.attempts)
