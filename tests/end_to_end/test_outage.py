"""A day without CloudWatch, with kills: no flushed window is lost, and only requests in flight may
arrive twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.sink import MAX_RESENT
from tests.support.endpoint import reject
from tests.support.outage import MINUTE, Run, running
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint
from tests.support.waiting import wait_for

DAY = 1440
"""Minutes, and so windows."""


@contextmanager
def holding(front: ValidatingEndpoint) -> Iterator[threading.Event]:
    """Leave requests unanswered while the context lasts; then they fail."""
    requested, over = threading.Event(), threading.Event()
    answer = front.answer

    def hold(handler: BaseHTTPRequestHandler) -> None:
        requested.set()
        over.wait(60)
        with suppress(OSError):  # the client has gone
            reject(503, "ServiceUnavailable")(handler)

    front.answer = hold
    try:
        yield requested
    finally:
        front.answer = answer
        over.set()


def received(front: ValidatingEndpoint) -> Counter[tuple[float, float]]:
    """Return how often the executions of each window arrived, by timestamp and number."""
    return Counter(
        (datum["Timestamp"], datum["Value"]) for datum in front.datums("ExecutionsCompleted")
    )


@pytest.fixture
def front() -> Iterator[ValidatingEndpoint]:
    """Start a PutMetricData server that is as strict as AWS."""
    with validating_endpoint(None) as started:
        yield started


def test_day_without_cloudwatch(tmp_path: Path, front: ValidatingEndpoint) -> None:
    """The endpoint is down for 24 hours and the exporter is killed and restarted twice: afterwards
    every window has arrived once with its own timestamp, at ten windows per minute."""
    spool = tmp_path / "spool.db"
    begin = now = time.time() // MINUTE * MINUTE - (DAY + 400) * MINUTE
    wanted: dict[float, float] = {}
    front.down()

    def pass_minutes(run: Run, number: int) -> dict[str, Any]:
        nonlocal now
        for _ in range(number):
            completed = int((now - begin) / MINUTE) + 1
            wanted[now] = completed
            said = run.minute(completed)
            now += MINUTE
        return said

    for minutes in (DAY // 3, DAY // 3):
        with running("cloudwatch", spool, front.url, now) as run:
            said = pass_minutes(run, minutes)
            assert int(said["queued"]) == len(wanted)
            run.kill()
    with running("cloudwatch", spool, front.url, now) as run:
        said = pass_minutes(run, DAY - len(wanted))
        assert int(said["queued"]) == DAY
        assert front.requests == []
        front.up()
        drained = 0
        while int(pass_minutes(run, 1)["queued"]):
            drained += 1
        run.stop()
    assert drained <= DAY / MAX_RESENT
    assert said["ambiguous"] == 0
    assert received(front) == {(stamp, number): 1 for stamp, number in wanted.items()}
    assert front.rejected == []
    beats = [datum["Timestamp"] for datum in front.datums("ExporterHeartbeat")]
    assert min(beats) >= begin + DAY * MINUTE
    print(f"{DAY} requests of a day were made good in {drained} minutes")


def test_kills_while_sending(tmp_path: Path, front: ValidatingEndpoint) -> None:
    """Twenty kills while the endpoint comes and goes lose no accepted window; at most one per kill
    arrives twice, each counted as ambiguous."""
    spool = tmp_path / "spool.db"
    now = time.time() // MINUTE * MINUTE - 400 * MINUTE
    wanted: dict[float, float] = {}
    ambiguous = 0.0
    for kill in range(20):
        (front.down if kill % 3 == 0 else front.up)()
        with running("cloudwatch", spool, front.url, now) as run:
            for number in range(3):
                completed = 100 * kill + number + 1
                wanted[now] = completed
                said = run.minute(completed)
                now += MINUTE
            ambiguous += said["ambiguous"]
            seen = len(front.requests) + len(front.failed)
            # The request was sent, so it is on disk: a kill now must not lose it.
            wanted[now] = 7_000_000 + kill
            with holding(front) if kill % 2 else nullcontext() as requested:
                run.begin(7_000_000 + kill)
                if requested is None:
                    wait_for(lambda seen=seen: len(front.requests) + len(front.failed) > seen)
                else:
                    assert requested.wait(60)
                run.kill()
            now += MINUTE
    front.up()
    with running("cloudwatch", spool, front.url, now) as run:
        for _ in range(12):
            said = run.minute(0)
        ambiguous += said["ambiguous"]
        assert said["queued"] == "0"
        run.stop()
    found = received(front)
    assert min(found[window] for window in wanted.items()) >= 1
    repeated = sum(times - 1 for times in found.values())
    assert repeated <= ambiguous <= 20
