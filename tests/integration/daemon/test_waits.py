"""No thread that /healthz watches ever waits for ten seconds without a tick.

A wait ends with a tick, so a long wait and an old tick are the same.
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

from neuron_exporter.config import Override, load
from neuron_exporter.daemon import daemon
from neuron_exporter.daemon.daemon import Daemon
from neuron_exporter.model import Group, SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.source import NeuronMonitorSource, neuron_monitor
from neuron_exporter.source import child as process
from neuron_exporter.source.child import Backoff
from neuron_exporter.source.watchdog import Watchdog
from neuron_exporter.web import Response, Server
from neuron_exporter.web.connections import MAX_CONNECTIONS
from tests.support.children import child
from tests.support.processes import children_of
from tests.support.source_thread import RecordingListener, running_source
from tests.support.waiting import wait_for

MAX_WAIT = 10.0
HEALTHY = 'print={"p": 0.01}'


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time children out after a fraction of a second; check that no child remains."""
    quick = functools.partial(Watchdog, silence_timeout=0.3, start_timeout=0.3)
    monkeypatch.setattr(neuron_monitor, "Watchdog", quick)
    before = children_of(os.getpid())
    yield
    assert set(children_of(os.getpid())) <= set(before)


def source(command: list[str], delay: float = 60.0) -> NeuronMonitorSource:
    """Return a source that runs this command, and again after a delay."""
    return NeuronMonitorSource(command, Group, 0.01, 2**20, backoff=Backoff(delay, delay))


def longest_wait(listener: RecordingListener, since: float) -> float:
    """Return the longest time without a tick from then until now."""
    return max(
        after - before for before, after in pairwise([since, *listener.ticks, time.monotonic()])
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
def test_reader_with_any_child(steps: list[str]) -> None:
    """Neither the restart delay, here a minute, nor any behaviour of the child blocks it."""
    listener, since = RecordingListener(), time.monotonic()
    with running_source(source(child(*steps)), listener):
        wait_for(lambda: listener.restarts)
        before = len(listener.ticks)
        wait_for(lambda: len(listener.ticks) > before + 1)

    assert longest_wait(listener, since) < MAX_WAIT


def test_reader_with_unkillable_child(tmp_path: Path) -> None:
    release = tmp_path / "release"
    listener, since = RecordingListener(), time.monotonic()
    with running_source(source(child(HEALTHY, f"unreapable={release}", "forever")), listener):
        wait_for(lambda: len(listener.states) > 3)
        assert listener.states[-1][0] is SourceState.STALLED
        release.touch()
        wait_for(lambda: listener.restarts)

    assert longest_wait(listener, since) < MAX_WAIT


def test_reader_with_hanging_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a program on a file system that does not respond."""
    never = tmp_path / "never.py"
    never.write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setattr(process, "_LAUNCHER", str(never))
    listener, since = RecordingListener(), time.monotonic()
    with running_source(source([sys.executable], delay=0.01), listener) as run:
        wait_for(lambda: listener.restarts)
        assert listener.states[0][0] is SourceState.STALLED
        assert run.end() < MAX_WAIT

    assert longest_wait(listener, since) < MAX_WAIT


def test_http_with_half_open_connections() -> None:
    ticks = [time.monotonic()]
    server = Server(
        "127.0.0.1:0", {"/": lambda _: Response(b"ok")}, lambda: ticks.append(time.monotonic())
    )
    server.start()
    clients = []
    deadline = time.monotonic() + 3
    try:
        while time.monotonic() < deadline:
            client = socket.create_connection(("127.0.0.1", server.port), 5)
            clients.append(client)
            with suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\n")
            if len(clients) > 3 * MAX_CONNECTIONS:
                clients.pop(0).close()
    finally:
        server.close()
        for client in clients:
            client.close()
    ticks.append(time.monotonic())

    assert max(after - before for before, after in pairwise(ticks)) < MAX_WAIT


def test_main_thread_without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = []

    def tick(_: Daemon, thread: str) -> None:
        if thread == "main":
            ticks.append(time.monotonic())

    monkeypatch.setattr(daemon.Daemon, "_tick", tick)
    flags = [
        Override("test", "source.command", ["/nowhere"]),
        Override("test", "prometheus.listen", "127.0.0.1:0"),
    ]
    runner = Daemon(build(load(flags=flags), environment={}))
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        wait_for(lambda: len(ticks) > 3)
    finally:
        runner._events.put(daemon.Stop("the test is over", 0))
        thread.join(60)

    assert max(after - before for before, after in pairwise(ticks)) < MAX_WAIT
