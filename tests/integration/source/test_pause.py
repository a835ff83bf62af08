"""Pausing and resuming neuron-monitor."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.model import Group, SourceState
from neuron_exporter.source import FileSource, NeuronMonitorSource, StdinSource, neuron_monitor
from neuron_exporter.source.child import Backoff
from neuron_exporter.source.stream import WakeupPipe
from tests.support.children import child, script
from tests.support.processes import children_of, processes_with_open, threads
from tests.support.source_thread import RecordingListener, running_source
from tests.support.waiting import wait_for

HEALTHY = 'print={"p": 0.01}'
PAUSED, STARTING = SourceState.PAUSED, SourceState.STARTING


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Check that no process and no thread is left."""
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) == before
    assert threads("stderr", "reader") == []


def make_source(*command: str | Path, backoff: Backoff | None = None) -> NeuronMonitorSource:
    """Return a source that runs this command."""
    return NeuronMonitorSource(
        [str(word) for word in command], Group, 0.01, 2**20, backoff=backoff or Backoff(600, 600)
    )


def states(listener: RecordingListener) -> list[SourceState]:
    """Return the reported states in order."""
    return [state for state, _ in listener.states]


@pytest.mark.parametrize("ignore_sigterm", [[], ["ignore"]], ids=["SIGTERM", "SIGKILL"])
def test_pause_closes_the_device(tmp_path: Path, ignore_sigterm: list[str]) -> None:
    """While paused, no process of the child's group runs or has the device open."""
    device = tmp_path / "neuron0"
    listener, other_children = RecordingListener(), children_of(os.getpid())
    source = make_source(
        *child(*ignore_sigterm, f"open={device}", "grandchild", HEALTHY, "forever")
    )
    with running_source(source, listener):
        for repetition in range(3):
            wait_for(lambda: len(listener.lines) == 2 * (repetition + 1))  # noqa: B023
            assert processes_with_open(device)

            assert source.pause_or_resume() is True
            wait_for(lambda: states(listener)[-1:] == [PAUSED])
            assert children_of(os.getpid()) == other_children
            wait_for(lambda: not processes_with_open(device))

            assert source.pause_or_resume() is False
            wait_for(lambda: states(listener)[-1] is STARTING)
        wait_for(lambda: len(listener.lines) == 8)

    assert states(listener) == [PAUSED, STARTING] * 3
    assert listener.restarts == []


def test_ticks_while_paused() -> None:
    """A paused source starts no child, and ticks about every second."""
    listener, other_children = RecordingListener(), children_of(os.getpid())
    source = make_source(*child(HEALTHY, "forever"))
    with running_source(source, listener):
        wait_for(lambda: listener.lines)
        source.pause_or_resume()
        wait_for(lambda: states(listener) == [PAUSED])
        before = len(listener.ticks)
        wait_for(lambda: len(listener.ticks) >= before + 3)
        assert children_of(os.getpid()) == other_children

    waits = listener.ticks[before + 1 : before + 3]
    assert waits[1] - waits[0] > 0.5
    assert len(listener.lines) == 1


def test_pause_before_start() -> None:
    listener = RecordingListener()
    source = make_source(*child(HEALTHY, "forever"))
    source.pause_or_resume()
    with running_source(source, listener):
        wait_for(lambda: states(listener) == [PAUSED])
        assert listener.lines == []
        source.pause_or_resume()
        wait_for(lambda: listener.lines)


@pytest.mark.parametrize("what", ["missing program", "crash"])
def test_pause_during_a_restart_delay(tmp_path: Path, what: str) -> None:
    """A pause ends the restart delay, and a resume starts the child at once."""
    program = tmp_path / "monitor"
    if what == "crash":
        script(program, "exit 1")
    listener = RecordingListener()
    source = make_source(program)
    with running_source(source, listener):
        wait_for(lambda: listener.restarts)
        source.pause_or_resume()
        wait_for(lambda: states(listener)[-1] is PAUSED)
        script(program, f"exec {shlex.join(child(HEALTHY, 'forever'))}")
        source.pause_or_resume()
        wait_for(lambda: listener.lines)

    assert len(listener.restarts) == 1


def test_child_ends_with_the_pause() -> None:
    """If a signal to all processes of a service also ends the child, that is no restart."""
    listener = RecordingListener(lambda _: source.pause_or_resume() and None)
    source = make_source(*child("half-report", "kill=10"))  # passed on when the child has ended
    with running_source(source, listener):
        wait_for(lambda: states(listener) == [PAUSED])

    assert listener.restarts == []


def test_resume_resets_the_restart_delay() -> None:
    listener = RecordingListener()
    source = make_source(*child("exit=1"), backoff=Backoff(0.01, 60))
    with running_source(source, listener):
        wait_for(lambda: len(listener.restarts) == 6)
        source.pause_or_resume()
        wait_for(lambda: PAUSED in states(listener))
        before = len(listener.restarts)
        source.pause_or_resume()
        wait_for(lambda: len(listener.restarts) > before)

    assert listener.restarts[before - 1][1] > 0.1
    assert listener.restarts[before][1] <= 0.01


def test_pause_and_resume_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader waits afterwards as before, without a busy loop."""
    monkeypatch.setattr(neuron_monitor, "_MAX_WAIT", 1)
    listener = RecordingListener()
    source = make_source(*child(HEALTHY, "forever"))
    with running_source(source, listener):
        wait_for(lambda: listener.lines)
        for _ in range(20):
            source.pause_or_resume()
            assert source.pause_or_resume() is False
        wait_for(lambda: states(listener)[-1:] != [PAUSED])
        before = len(listener.ticks)
        wait_for(lambda: len(listener.ticks) >= before + 4)

    # The first ticks may belong to the signals.
    assert listener.ticks[before + 3] - listener.ticks[before + 2] > 0.5


def test_pauses_during_a_start() -> None:
    """After twenty signals at different moments of a start, the last one decides."""
    listener, other_children = RecordingListener(), children_of(os.getpid())
    source = make_source(*child(HEALTHY, "forever"))
    with running_source(source, listener):
        for moment in range(20):
            time.sleep(moment * 0.004)
            paused = source.pause_or_resume()
        assert paused is False
        wait_for(lambda: len(set(children_of(os.getpid())).difference(other_children)) == 1)
        source.pause_or_resume()
        wait_for(lambda: states(listener)[-1] is PAUSED)
        assert children_of(os.getpid()) == other_children

    assert listener.restarts == []


def test_stop_while_paused() -> None:
    listener = RecordingListener()
    source = make_source(*child(HEALTHY, "forever"))
    with running_source(source, listener) as run:
        wait_for(lambda: listener.lines)
        source.pause_or_resume()
        wait_for(lambda: states(listener) == [PAUSED])
        run.end()

    assert states(listener) == [PAUSED]


def test_sources_without_a_child(tmp_path: Path) -> None:
    """Standard input and files cannot be paused."""
    assert StdinSource(100).pause_or_resume() is None
    assert FileSource(str(tmp_path), 100, 1.0, repeat=False).pause_or_resume() is None


def test_wakeup_pipe() -> None:
    """`wake` ends one wait; `request_stop` ends all, even after `drain`."""
    wakeup = WakeupPipe()
    for _ in range(3):
        wakeup.wake()
        wakeup.wake()
        assert not wakeup.wait(3600)
    before = time.monotonic()
    assert not wakeup.wait(0.1)
    assert time.monotonic() - before >= 0.1
    wakeup.request_stop()
    wakeup.drain()
    assert wakeup.wait(3600)
    for _ in range(100_000):  # more than the capacity of the pipe
        wakeup.wake()
    assert wakeup.wait(3600)
