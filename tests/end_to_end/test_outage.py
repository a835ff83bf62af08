"""A day without CloudWatch, with kills in it: nothing that was flushed is lost, and nothing comes
twice but what was in flight."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.sink import MOST_RESENT
from tests.support.endpoint import refuse
from tests.support.exporter import clean_environment
from tests.support.outage import MINUTE, outage
from tests.support.strict_front import StrictFront, strict_front
from tests.support.waiting import wait_for

DAY = 1440
"""Minutes, and so windows."""


class Life:
    """One life of the exporter."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def minute(self, completed: int) -> dict[str, Any]:
        """Let a window with so many executions pass; gives what the sink says of itself."""
        self.begin(completed)
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def begin(self, completed: int) -> None:
        """Begin with a window."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{completed}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as an out-of-memory kill does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Let it stop in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0


@contextmanager
def living(spool: Path, front: StrictFront, start: float) -> Iterator[Life]:
    """An exporter that begins at this moment."""
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    process = subprocess.Popen(
        outage(str(spool), front.url, start),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(**credentials),
    )
    try:
        yield Life(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


@contextmanager
def holding(front: StrictFront) -> Iterator[threading.Event]:
    """While this lasts, requests are taken and not answered; then they have failed."""
    asked, over = threading.Event(), threading.Event()
    answer = front.answer

    def hold(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        over.wait(30)
        with suppress(OSError):  # whoever asked is gone
            refuse(503, "ServiceUnavailable")(handler)

    front.answer = hold
    try:
        yield asked
    finally:
        front.answer = answer
        over.set()


def received(front: StrictFront) -> Counter[tuple[float, float]]:
    """How often the executions of each window came: stamp and number."""
    return Counter(
        (datum["Timestamp"], datum["Value"]) for datum in front.datums("ExecutionsCompleted")
    )


@pytest.fixture
def front() -> Iterator[StrictFront]:
    """CloudWatch, as strict as AWS."""
    with strict_front(None) as started:
        yield started


def test_a_day_without_cloudwatch(tmp_path: Path, front: StrictFront) -> None:
    """The endpoint is away for 24 hours, the exporter is killed and started again twice meanwhile:
    afterwards every window is there once, with its own stamp, in as many minutes as ten a minute
    need."""
    spool = tmp_path / "spool.db"
    begin = now = time.time() // MINUTE * MINUTE - (DAY + 400) * MINUTE
    wanted: dict[float, float] = {}
    front.down()

    def pass_minutes(life: Life, number: int) -> dict[str, Any]:
        nonlocal now
        for _ in range(number):
            completed = int((now - begin) / MINUTE) + 1
            wanted[now] = completed
            said = life.minute(completed)
            now += MINUTE
        return said

    for minutes in (DAY // 3, DAY // 3):
        with living(spool, front, now) as life:
            said = pass_minutes(life, minutes)
            assert int(said["queued"]) == len(wanted)
            life.kill()
    with living(spool, front, now) as life:
        said = pass_minutes(life, DAY - len(wanted))
        assert int(said["queued"]) == DAY
        assert front.requests == []
        front.up()
        drained = 0
        while int(pass_minutes(life, 1)["queued"]):
            drained += 1
        life.stop()
    assert drained <= DAY / MOST_RESENT
    assert said["ambiguous"] == 0
    assert received(front) == {(stamp, number): 1 for stamp, number in wanted.items()}
    assert front.refused == []
    beats = [datum["Timestamp"] for datum in front.datums("ExporterHeartbeat")]
    assert min(beats) >= begin + DAY * MINUTE
    print(f"{DAY} requests of a day were made good in {drained} minutes")


def test_kills_in_the_middle_of_sending(tmp_path: Path, front: StrictFront) -> None:
    """Killed twenty times while the endpoint comes and goes, at whatever moment: no window that the
    sink had taken is lost, and at most one a kill comes twice, each counted as ambiguous."""
    spool = tmp_path / "spool.db"
    now = time.time() // MINUTE * MINUTE - 400 * MINUTE
    wanted: dict[float, float] = {}
    ambiguous = 0.0
    for kill in range(20):
        (front.down if kill % 3 == 0 else front.up)()
        with living(spool, front, now) as life:
            for number in range(3):
                completed = 100 * kill + number + 1
                wanted[now] = completed
                said = life.minute(completed)
                now += MINUTE
            ambiguous += said["ambiguous"]
            seen = len(front.requests) + len(front.failed)
            # CloudWatch has been asked, so it was written: a kill now must not lose it.
            wanted[now] = 7_000_000 + kill
            with holding(front) if kill % 2 else nullcontext() as asked:
                life.begin(7_000_000 + kill)
                if asked is None:
                    wait_for(lambda seen=seen: len(front.requests) + len(front.failed) > seen)
                else:
                    assert asked.wait(10)
                life.kill()
            now += MINUTE
    front.up()
    with living(spool, front, now) as life:
        for _ in range(12):
            said = life.minute(0)
        ambiguous += said["ambiguous"]
        assert said["queued"] == "0"
        life.stop()
    found = received(front)
    assert min(found[window] for window in wanted.items()) >= 1
    repeated = sum(times - 1 for times in found.values())
    assert repeated <= ambiguous <= 20
