"""Series of OTLP over time: their starts, their ends, and their times after a step of the clock."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.metrics.counters import RETENTION_AFTER_EXIT
from neuron_exporter.model import Timestamp
from tests.support import exporter as exporter_process
from tests.support import reports as build
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.otlp_front import OtlpFront, otlp_front
from tests.support.otlp_points import History, Point
from tests.support.otlp_publishing import otlp_pipeline
from tests.support.patched import SteppingClock, patched
from tests.support.processes import children_of
from tests.support.publishing import Clock
from tests.support.sigv4 import Credentials
from tests.support.waiting import wait_for

HOUR = 3600
MINUTE = 60.0


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """Start a strict receiver, which rejects late points and repeated ones."""
    with otlp_front() as started:
        yield started


@pytest.fixture
def tolerant() -> Iterator[OtlpFront]:
    """Start a receiver that accepts the same point again, as after a kill."""
    with otlp_front(allow_repeats=True) as started:
        yield started


def config(front: OtlpFront, **more: Any) -> dict[str, Any]:
    """Return a configuration that sends a point of each series in each second."""
    return {
        "source": simulated("--scenario", "training"),
        "otlp": {"enabled": True, "endpoint": front.url, "interval": "1s"},
        **more,
    }


def executions(front: OtlpFront) -> list[Point]:
    """Return the points of the machine's counter of executions."""
    return [
        point
        for point in front.points
        if point.name == "neuron_executions_total" and point.labels["status_type"] == "completed"
    ]


def wait_for_executions(front: OtlpFront, count: int = 2) -> float:
    """Wait until the counter of executions has risen so often from now on; return its value."""
    seen = len(executions(front))

    def risen() -> list[float | int | None]:
        values = {point.value for point in executions(front)[seen:]}
        return sorted(values, key=lambda value: value or 0) if len(values) > count else []

    return wait_for(risen)[-1] or 0.0


def ended(points: list[Point]) -> list[Point]:
    """Return the points of series that have ended."""
    return [point for point in points if point.flags]


def test_restart_of_neuron_monitor_keeps_starts(tmp_path: Path, front: OtlpFront) -> None:
    """neuron-monitor is killed twice. No series ends but for what its first report does not have:
    shares of CPU time, and latencies."""
    with running_exporter(tmp_path, config(front)) as exporter:
        wait_for_executions(front)
        for _ in range(2):
            before = wait_for_executions(front)
            restarts = exporter.value("neuron_exporter_source_restarts_total", reason="exited") or 0
            (child,) = children_of(exporter.process.pid)
            os.kill(child, signal.SIGKILL)
            exporter.wait_for_value(
                "neuron_exporter_source_restarts_total", restarts + 1, reason="exited"
            )
            assert wait_for_executions(front) > before
        assert exporter.stop() == 0
    assert front.rejected == []
    assert len({point.start for point in executions(front)}) == 1
    names = {point.name for point in ended(front.points)}
    assert all(name.endswith(("_vcpu_usage_ratio", "_latency_seconds")) for name in names), names


def test_restart_of_the_exporter_renews_starts(tmp_path: Path, tolerant: OtlpFront) -> None:
    """Neither an orderly stop nor a kill ends a series: its next points say that it has begun
    anew. What was being sent at the kill may be sent again."""
    starts = []
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        since = time.time_ns()
        before = len(executions(tolerant))
        with running_exporter(tmp_path, config(tolerant)) as exporter:
            wait_for_executions(tolerant)
            exporter.stop(number)
        (start,) = {point.start for point in executions(tolerant)[before:]}
        assert start > since
        starts.append(start)
        own = [p for p in tolerant.points if p.name == "neuron_exporter_reports_total"]
        assert own[-1].start > since
    assert starts == sorted(starts)
    assert tolerant.rejected == []
    assert ended(tolerant.points) == []


class Replay:
    """An exporter whose reports and time the test chooses, with intervals of a minute."""

    def __init__(self, front: OtlpFront, clock: Clock) -> None:
        settings = {"identity.instance_id": "i-1", "prometheus.runtime_labels": ["runtime_tag"]}
        self._pipeline = otlp_pipeline(front.url, clock, settings)
        self._clock = clock
        self._front = front

    def minute(self, *tags: str) -> list[Point]:
        """Let a minute with runtimes of these tags pass; return the points of its end."""
        runtimes = [
            build.runtime(
                pid=100 + ord(tag),
                tag=tag,
                neuroncore_counters=build.cores(**{f"_{number}": 50}),
                execution_stats=build.executions(3),
            )
            for number, tag in enumerate(tags)
        ]
        end = self._clock.now // MINUTE * MINUTE + MINUTE
        self._clock.now = end - 1
        line = memoryview(json.dumps(build.report(*runtimes)).encode())
        self._pipeline.processor.on_line(line, Timestamp(self._clock.now, self._clock.now))
        self._clock.now = end + 0.9 * MINUTE
        assert self._pipeline.otlp is not None
        self._pipeline.otlp.run_once()
        assert self._front.rejected == []
        return [point for point in self._front.points if point.time == end * 1e9]

    def silence(self) -> None:
        """Let a minute without a report pass."""
        self._clock.now += MINUTE
        assert self._pipeline.otlp is not None
        self._pipeline.otlp.run_once()


def of_tag(points: list[Point], tag: str) -> list[Point]:
    """Return the points of a runtime's series."""
    return [point for point in points if point.labels.get("runtime_tag") == tag]


def test_ended_runtime_is_marked_once(fake_credentials: None) -> None:
    """The gauges of a runtime end with the first report without it, its counters when they are
    given up. Those of one that comes back go on, or begin anew."""
    clock = Clock(time.time() // MINUTE * MINUTE - 3 * HOUR)
    with otlp_front(clock, credentials=Credentials(), signing_clock=time.time) as front:
        replay = Replay(front, clock)
        of_b = of_tag(replay.minute("a", "b"), "b")
        gauges = {point.series for point in of_b if point.kind == "gauge"}
        counters = {point.series for point in of_b if point.kind == "sum"}
        assert gauges
        assert counters
        assert ended(of_b) == []
        starts = {point.series: point.start for point in of_b}

        gone = of_tag(replay.minute("a"), "b")
        assert {point.series for point in ended(gone)} == gauges
        assert {point.series for point in gone if not point.flags} == counters
        back = of_tag(replay.minute("a", "b"), "b")
        assert {point.series: point.start for point in back} == starts
        assert ended(back) == []
        after = [of_tag(replay.minute("a"), "b") for _ in range(int(RETENTION_AFTER_EXIT / 60) + 3)]
        assert Counter(point.series for each in after for point in ended(each)) == dict.fromkeys(
            gauges | counters, 1
        )
        assert after[-1] == []
        anew = of_tag(replay.minute("a", "b"), "b")
        assert {point.series for point in anew} == gauges | counters
        assert min(point.start for point in anew if point.kind == "sum") > max(starts.values())
        assert ended(of_tag(front.points, "a")) == []


def test_silent_source_ends_all_series(fake_credentials: None) -> None:
    """Series of the hardware end once when reports are no longer fresh, those of the exporter
    itself do not; later reports continue the counters."""
    clock = Clock(time.time() // MINUTE * MINUTE - 3 * HOUR)
    with otlp_front(clock, credentials=Credentials(), signing_clock=time.time) as front:
        replay = Replay(front, clock)
        first = {point.series: point.start for point in replay.minute("a")}
        for _ in range(10):
            replay.silence()
        again = {point.series: point.start for point in replay.minute("a")}
        marked = Counter(point.series for point in ended(front.points))
        assert marked == dict.fromkeys(
            (each for each in first if not str(each[2]).startswith(("neuron_exporter_", "p"))), 1
        )
        assert {each: again[each] for each in first} == first


def test_wall_clock_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: OtlpFront
) -> None:
    """Steps in both directions repeat no time of a series. Points of a time that has passed already
    are sent: whether the receiver takes them is up to it."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stepping-wall-clock"))
    clock = SteppingClock(tmp_path)
    front.history = Unordered(allow_repeats=False)
    with running_exporter(tmp_path, config(front), environment=clock.environment) as exporter:
        wait_for_executions(front)
        for step in (HOUR, HOUR - 4, HOUR, 0, -HOUR, -HOUR - 3, 5):
            clock.set(step)
            wait_for_step(front, exporter, step)
        assert exporter.stop() == 0
    assert front.rejected == []
    times = Counter((point.series, point.time) for point in front.points)
    assert set(times.values()) == {1}
    assert all(point.start <= point.time for point in front.points)


class Unordered(History):
    """A history that accepts all points."""

    def add(self, points: Iterable[Point]) -> list[Point]:
        """Return all points."""
        return list(points)


def wait_for_step(front: OtlpFront, exporter: RunningExporter, step: float) -> None:
    """Wait for some points at times after a step of the clock."""
    seen = len(front.points)
    since = time.time() + step

    def arrived() -> bool:
        later = {p.time for p in front.points[seen:] if 0 <= p.time / 1e9 - since < HOUR / 2}
        return len(later) >= 3

    wait_for(arrived)
    assert exporter.value("neuron_exporter_up") == 1
