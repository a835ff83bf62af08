"""Each interval is sent once, at its end, with series that start and end."""

from __future__ import annotations

from neuron_exporter.metrics.selection import select_for_prometheus
from tests.support.otlp_sinks import (
    COMPLETED,
    FULL,
    MINUTE,
    START,
    ManualOtlpSink,
    busy,
)
from tests.support.reports import ecc


def test_points_have_the_time_of_the_interval_s_end() -> None:
    manual = ManualOtlpSink()
    for _ in range(3):
        manual.minute("app")
    assert manual.completed() == [(60, 1), (120, 2), (180, 3)]


def test_the_last_report_of_an_interval_counts() -> None:
    manual = ManualOtlpSink()
    for number in range(1, 6):
        manual.offer(*busy(["app"], number))
        manual.wait(12)
    assert manual.completed() == [(60, 15)]


def test_values_are_repeated_while_they_are_fresh() -> None:
    """With a report period that is longer than the interval, as a scrape would see it."""
    manual = ManualOtlpSink(interval=5.0)
    manual.offer(*busy(["app"]))
    for _ in range(4):
        manual.wait(5)
    assert manual.completed() == [(5, 1), (10, 1), (15, 1), (20, None)]


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
    assert manual.completed() == [(60, 1), (120, None)]
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
    assert manual.completed() == [(60, 1), (80, 6)]


def test_stale_values_are_not_sent_at_the_end() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.offer(*busy(["app"]))
    manual.wait(50)
    manual.sink.start()
    assert manual.sink.close(10)
    assert manual.completed() == [(60, 1)]


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
    assert manual.completed() == [(60, 1)]
    assert manual.sink.status()["state"] == "RuntimeError: own metrics: gone"


def test_a_reload_changes_the_selection() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    only, _ = select_for_prometheus("none", ["neuroncore_utilization_ratio"], [])
    manual.sink.reconfigure(only, manual.settings)
    manual.minute("app")
    assert [value for _, value in manual.completed()] == [1, None]
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
    assert manual.completed() == [(60, 1)]
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
