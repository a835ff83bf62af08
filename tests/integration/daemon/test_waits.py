"""No thread that /healthz asks for ever waits for ten seconds: who gave no sign for thirty is dead.

A wait ends with a tick, so that a long wait and an old tick are the same thing.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from neuron_exporter.config import Given, load
from neuron_exporter.daemon import daemon
from neuron_exporter.daemon.daemon import Daemon
from neuron_exporter.model import Group, SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.source import NeuronMonitorSource, neuron_monitor
from neuron_exporter.source import child as process
from neuron_exporter.source.child import Backoff
from neuron_exporter.source.watchdog import Watchdog
from neuron_exporter.web import Response, Server
from neuron_exporter.web.connections import MOST_CONNECTIONS
from tests.support.children import child
from tests.support.listening import Recorder, running
from tests.support.processes import children_of
from tests.support.waiting import wait_for

LONGEST_WAIT = 10.0
HEALTHY = 'print={"p": 0.01}'


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A child is complained of after a fraction of a second, and nothing is left of it."""
    quick = functools.partial(Watchdog, patience=0.3, grace=0.3)
    monkeypatch.setattr(neuron_monitor, "Watchdog", quick)
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) == before


def source(command: list[str], delay: float = 60.0) -> NeuronMonitorSource:
    """A source that runs this, and again after a delay."""
    return NeuronMonitorSource(command, Group, 0.01, 2**20, backoff=Backoff(delay, delay))


def longest_wait(heard: Recorder, since: float) -> float:
    """The longest time without a sign of life, from then until now."""
    return max(
        after - before for before, after in pairwise([since, *heard.ticks, time.monotonic()])
    )


@pytest.mark.parametrize(
    "steps",
    [
        ["exit=1"],
        ["forever"],
        [HEALTHY, "flood=hello"],
        ["flood=hello"],
        ["ignore", "grandchild", HEALTHY, "forever"],
        ["ignore", HEALTHY, "kill=19"],
        [HEALTHY, "uninterruptible"],
        ["stderr-flood=1000", "again"],
    ],
    ids=["delay", "silence", "garbage", "flood", "refusal", "stopped", "uninterruptible", "stderr"],
)
def test_the_reader_waits_for_nothing_for_long(steps: list[str]) -> None:
    """Neither the delay between two lives, a minute here, nor what a child does or refuses."""
    heard, since = Recorder(), time.monotonic()
    with running(source(child(*steps)), heard):
        wait_for(lambda: heard.restarts)
        before = len(heard.ticks)
        wait_for(lambda: len(heard.ticks) > before + 1)

    assert longest_wait(heard, since) < LONGEST_WAIT / 2


def test_the_reader_waits_for_no_child_that_cannot_be_ended(tmp_path: Path) -> None:
    """A child that the system holds for ever is waited for a second at a time."""
    release = tmp_path / "release"
    heard, since = Recorder(), time.monotonic()
    with running(source(child(HEALTHY, f"unreapable={release}", "forever")), heard):
        wait_for(lambda: len(heard.states) > 3)
        assert heard.states[-1][0] is SourceState.STALLED
        release.touch()
        wait_for(lambda: heard.restarts)

    assert longest_wait(heard, since) < LONGEST_WAIT / 2


def test_the_reader_waits_for_no_start_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that cannot be loaded, as from a file system that does not answer, is a child that
    is silent; it is ended, and a stop meanwhile ends it, too."""
    never = tmp_path / "never.py"
    never.write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setattr(process, "_LAUNCHER", str(never))
    heard, since = Recorder(), time.monotonic()
    with running(source([sys.executable], delay=0.01), heard) as run:
        wait_for(lambda: heard.restarts)
        assert heard.states[0][0] is SourceState.STALLED
        assert run.end() < LONGEST_WAIT

    assert longest_wait(heard, since) < LONGEST_WAIT


def test_http_waits_for_no_client() -> None:
    """More half-open connections than there are places delay nobody who asks for health."""
    ticks = [time.monotonic()]
    server = Server(
        "127.0.0.1:0", {"/": lambda _: Response(b"ok")}, lambda: ticks.append(time.monotonic())
    )
    server.start()
    held = []
    until = time.monotonic() + 3
    try:
        while time.monotonic() < until:
            client = socket.create_connection(("127.0.0.1", server.port), 5)
            held.append(client)
            with suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\n")
            if len(held) > 3 * MOST_CONNECTIONS:
                held.pop(0).close()
    finally:
        server.close()
        for client in held:
            client.close()
    ticks.append(time.monotonic())

    assert max(after - before for before, after in pairwise(ticks)) < LONGEST_WAIT / 2


def test_the_main_thread_waits_for_no_event_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to do it gives a sign every second."""
    ticks = []

    def tick(_: Daemon, thread: str) -> None:
        if thread == "main":
            ticks.append(time.monotonic())

    monkeypatch.setattr(daemon.Daemon, "_tick", tick)
    flags = [
        Given("test", "source.command", ["/nowhere"]),
        Given("test", "prometheus.listen", "127.0.0.1:0"),
    ]
    made = Daemon(build(load(flags=flags), environment={}))
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        wait_for(lambda: len(ticks) > 3)
    finally:
        made._events.put(daemon.Stop("the test is over", 0))
        thread.join(10)

    assert max(after - before for before, after in pairwise(ticks)) < LONGEST_WAIT / 2
