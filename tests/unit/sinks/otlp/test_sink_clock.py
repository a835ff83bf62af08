"""Steps of the clock repeat no time and invent no interval."""

from __future__ import annotations

from tests.support.otlp_sinks import COMPLETED, OF_COMPLETED, START, ManualOtlpSink, busy


def test_a_clock_that_is_set_back_repeats_no_time() -> None:
    manual = ManualOtlpSink()
    for _ in range(3):
        manual.minute("app")
    manual.wall -= 150.0
    for _ in range(4):
        manual.minute("app")
    times = [time for time, _ in manual.completed()]
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
    times = [time for time, value in manual.completed() if value is not None]
    assert times == [60, years + 120]


def test_a_clock_that_is_set_back_before_the_start() -> None:
    manual = ManualOtlpSink()
    manual.transport.history = None
    manual.minute("app")
    manual.wall -= 3600.0
    manual.minute("app")
    manual.minute("app")
    later = manual.transport.of(COMPLETED, **OF_COMPLETED)[1:]
    assert [point.value for point in later] == [2, 3]
    assert len({point.start for point in later}) == 1
    own = manual.transport.of("neuron_exporter_source_bytes_total")[1:]
    assert all(point.start <= point.time for point in own)


def test_a_clock_that_jumps_ahead_invents_no_intervals() -> None:
    manual = ManualOtlpSink(since=START + 10)
    manual.wall += 2 * 3600.0
    manual.offer(*busy(["app"]))
    manual.wait(50)
    assert len(manual.transport.seconds("neuron_exporter_up")) == 1


def test_a_clock_that_is_set_back_is_reported() -> None:
    manual = ManualOtlpSink()
    for _ in range(40):
        manual.minute("app")
    manual.wall -= 1800.0
    for _ in range(10):
        manual.minute("app")
    assert len(manual.completed()) == 40
    assert manual.sink.status()["state"].startswith("ClockSetBack")
