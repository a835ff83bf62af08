"""A day without the OTLP endpoint, with kills: no interval is lost, all arrive in order, and only
requests in flight may arrive twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.otlp.sink import MAX_RESENT
from tests.support.otlp_front import OtlpFront, fail, otlp_front
from tests.support.otlp_points import Point
from tests.support.outage import MINUTE, Run, running
from tests.support.waiting import wait_for

DAY = 1440
"""Minutes, and so intervals."""


@contextmanager
def holding(front: OtlpFront) -> Iterator[threading.Event]:
    """Leave requests unanswered while the context lasts; then they fail."""
    requested, over = threading.Event(), threading.Event()
    answer, keeps_points = front.answer, front.keeps_points

    def hold(handler: BaseHTTPRequestHandler) -> None:
        requested.set()
        over.wait(60)
        with suppress(OSError):  # the client has gone
            fail(503)(handler)

    front.respond_with(hold)
    try:
        yield requested
    finally:
        front.respond_with(answer, keeps_points=keeps_points)
        over.set()


def executions(front: OtlpFront) -> list[Point]:
    """Return the points of the machine's counter of executions, in the order of their arrival."""
    return [
        point
        for point in front.points
        if point.name == "neuron_executions_total" and point.labels["status_type"] == "completed"
    ]


def ends(points: list[Point]) -> list[float]:
    """Return the times of points in Unix seconds."""
    return [point.time / 1e9 for point in points]


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """Start a strict receiver. It rejects late points, and those with a time that their series
    already has, unless nothing of them has changed."""
    with otlp_front(allow_repeats=True) as started:
        yield started


def test_day_without_the_endpoint(tmp_path: Path, front: OtlpFront) -> None:
    """The endpoint is down for 24 hours and the exporter is killed and restarted twice: afterwards
    every interval has arrived once with its own time, an hour's backlog in each minute."""
    spool = tmp_path / "spool.db"
    begin = now = time.time() // MINUTE * MINUTE - (DAY + 400) * MINUTE
    wanted: list[tuple[float, float]] = []
    started: list[float] = []
    front.respond_with(fail(503))

    def pass_minutes(run: Run, number: int) -> dict[str, Any]:
        """Let minutes with one execution pass."""
        nonlocal now
        for _ in range(number):
            now += MINUTE
            wanted.append((now, 1 + (now - MINUTE - started[-1]) / MINUTE))
            said = run.minute(1)
        return said

    for minutes in (DAY // 3, DAY // 3):
        started.append(now)
        with running("otlp", spool, front.url, now) as run:
            said = pass_minutes(run, minutes)
            assert int(said["queued"]) == len(wanted)
            run.kill()
    started.append(now)
    with running("otlp", spool, front.url, now) as run:
        said = pass_minutes(run, DAY - len(wanted))
        assert int(said["queued"]) == DAY
        assert front.requests == []
        front.recover()
        drained = 0
        while int(pass_minutes(run, 1)["queued"]):
            drained += 1
        run.stop()
    assert drained <= DAY / (MAX_RESENT - 1)
    assert (front.rejected, front.repeated) == ([], [])
    found = executions(front)
    assert ends(found) == [end for end, _ in wanted]
    assert [point.value for point in found] == [value for _, value in wanted]
    assert sorted({point.start / 1e9 for point in found}) == started
    assert min(point.time / 1e9 for point in front.points) == begin + MINUTE
    assert {point.flags for point in front.points} == {0}
    print(f"{DAY} requests of a day were made good in {drained} minutes")


def test_kills_while_sending(tmp_path: Path, front: OtlpFront) -> None:
    """Twenty kills while the endpoint comes and goes lose no interval; at most one per kill arrives
    twice, each counted as ambiguous."""
    spool = tmp_path / "spool.db"
    now = time.time() // MINUTE * MINUTE - 400 * MINUTE
    wanted: list[float] = []
    ambiguous = 0.0
    for kill in range(20):
        if kill % 3 == 0:
            front.respond_with(fail(503))
        else:
            front.recover()
        with running("otlp", spool, front.url, now) as run:
            for _ in range(3):
                now += MINUTE
                wanted.append(now)
                said = run.minute(1)
            ambiguous += said["ambiguous"]
            seen = len(front.requests) + len(front.failed)
            # A request was sent, so that of this minute is on disk: a kill now must not lose it.
            now += MINUTE
            wanted.append(now)
            with holding(front) if kill % 2 else nullcontext() as requested:
                run.begin(1)
                if requested is None:
                    wait_for(lambda seen=seen: len(front.requests) + len(front.failed) > seen)
                else:
                    assert requested.wait(60)
                run.kill()
    front.recover()
    with running("otlp", spool, front.url, now) as run:
        for _ in range(3):
            now += MINUTE
            wanted.append(now)
            said = run.minute(0)
        ambiguous += said["ambiguous"]
        assert said["queued"] == "0"
        run.stop()
    assert front.rejected == []
    assert ends(executions(front)) == wanted
    repeated = {point.time for point in front.repeated}
    assert len(repeated) <= ambiguous <= 20
