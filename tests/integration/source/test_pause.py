"""A pause ends the child, starts no other, and ends as soon as it is wanted."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.model import Group, SourceState
from neuron_exporter.source import FileSource, NeuronMonitorSource, StdinSource
from neuron_exporter.source.child import Backoff
from neuron_exporter.source.stream import Wake
from tests.support.children import child, script
from tests.support.listening import Recorder, running
from tests.support.processes import children_of, holders, threads
from tests.support.waiting import wait_for

HEALTHY = 'print={"p": 0.01}'
PAUSED, STARTING = SourceState.PAUSED, SourceState.STARTING


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No source leaves a process or a thread behind."""
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) == before
    assert threads("stderr", "reader") == []


def source(*command: str | Path, backoff: Backoff | None = None) -> NeuronMonitorSource:
    """A source that runs this command."""
    return NeuronMonitorSource(
        [str(word) for word in command], Group, 0.01, 2**20, backoff=backoff or Backoff(60, 60)
    )


def states(heard: Recorder) -> list[SourceState]:
    """The states that were told, in order."""
    return [state for state, _ in heard.states]


@pytest.mark.parametrize("stubborn", [[], ["ignore"]], ids=["obedient", "stubborn"])
def test_a_pause_lets_go_of_the_device_and_a_resume_takes_it_again(
    tmp_path: Path, stubborn: list[str]
) -> None:
    """While it is paused nobody of the child's group lives or holds what it had opened."""
    device = tmp_path / "neuron0"
    heard, others = Recorder(), children_of(os.getpid())
    made = source(*child(*stubborn, f"open={device}", "grandchild", HEALTHY, "forever"))
    with running(made, heard):
        for turn in range(3):
            wait_for(lambda: len(heard.lines) == 2 * (turn + 1))  # noqa: B023
            assert holders(device)

            assert made.pause_or_resume() is True
            wait_for(lambda: states(heard)[-1:] == [PAUSED])
            assert children_of(os.getpid()) == others
            wait_for(lambda: not holders(device))

            resumed = time.monotonic()
            assert made.pause_or_resume() is False
            wait_for(lambda: states(heard)[-1] is STARTING)
            assert time.monotonic() - resumed < 1
        wait_for(lambda: len(heard.lines) == 8)

    assert states(heard) == [PAUSED, STARTING] * 3
    assert heard.restarts == []


def test_a_pause_lasts_and_is_seen_alive() -> None:
    """Nothing is started by itself, and the thread ticks, without spinning."""
    heard, others = Recorder(), children_of(os.getpid())
    made = source(*child(HEALTHY, "forever"))
    with running(made, heard):
        wait_for(lambda: heard.lines)
        made.pause_or_resume()
        wait_for(lambda: states(heard) == [PAUSED])
        before = len(heard.ticks)
        wait_for(lambda: len(heard.ticks) >= before + 3)
        took = heard.ticks[before + 2] - heard.ticks[before]
        assert children_of(os.getpid()) == others

    assert 1.5 < took < 5
    assert len(heard.lines) == 1


def test_a_source_may_be_paused_before_it_starts() -> None:
    """A pause that comes first is not forgotten."""
    heard = Recorder()
    made = source(*child(HEALTHY, "forever"))
    made.pause_or_resume()
    with running(made, heard):
        wait_for(lambda: states(heard) == [PAUSED])
        assert heard.lines == []
        made.pause_or_resume()
        wait_for(lambda: heard.lines)


@pytest.mark.parametrize("what", ["missing program", "crash"])
def test_a_pause_ends_a_wait_between_lives_and_so_does_its_end(tmp_path: Path, what: str) -> None:
    """Neither the pause nor the resume waits for a delay of a minute, and the delay is gone."""
    program = tmp_path / "monitor"
    if what == "crash":
        script(program, "exit 1")
    heard = Recorder()
    made = source(program)
    with running(made, heard):
        wait_for(lambda: heard.restarts)
        made.pause_or_resume()
        wait_for(lambda: states(heard)[-1] is PAUSED, 5)
        script(program, f"exec {shlex.join(child(HEALTHY, 'forever'))}")
        made.pause_or_resume()
        wait_for(lambda: heard.lines, 5)

    assert len(heard.restarts) == 1


def test_a_child_that_ends_with_the_pause_is_no_failure() -> None:
    """A signal to all processes of a service ends the child, too; that is no restart."""
    heard = Recorder(lambda _: made.pause_or_resume() and None)
    made = source(*child("half-report", "kill=10"))  # what has no end is heard after the child's
    with running(made, heard):
        wait_for(lambda: states(heard) == [PAUSED])

    assert heard.restarts == []


def test_a_resume_begins_with_the_shortest_delay() -> None:
    """Whoever has reset a driver need not wait for what failed before."""
    heard = Recorder()
    made = source(*child("exit=1"), backoff=Backoff(0.01, 60))
    with running(made, heard):
        wait_for(lambda: len(heard.restarts) == 6)
        made.pause_or_resume()
        wait_for(lambda: PAUSED in states(heard))
        before = len(heard.restarts)
        made.pause_or_resume()
        wait_for(lambda: len(heard.restarts) > before)

    assert heard.restarts[before - 1][1] > 0.1
    assert heard.restarts[before][1] <= 0.01


def test_a_pause_that_is_taken_back_at_once_leaves_nobody_spinning() -> None:
    """Whether the reader saw it or not, it waits afterwards as it did before."""
    heard = Recorder()
    made = source(*child(HEALTHY, "forever"))
    with running(made, heard):
        wait_for(lambda: heard.lines)
        for _ in range(20):
            made.pause_or_resume()
            assert made.pause_or_resume() is False
        wait_for(lambda: states(heard)[-1:] != [PAUSED])
        since = time.monotonic()
        wait_for(lambda: time.monotonic() - since > 3)
        ticks = [tick for tick in heard.ticks if tick > since + 1]

    assert 1 <= len(ticks) <= 4


def test_pauses_at_any_moment_leave_one_child_or_none() -> None:
    """Twenty signals, each at another moment of a start: at the end there is what was asked for."""
    heard, others = Recorder(), children_of(os.getpid())
    made = source(*child(HEALTHY, "forever"))
    with running(made, heard):
        for moment in range(20):
            time.sleep(moment * 0.004)
            paused = made.pause_or_resume()
        assert paused is False
        wait_for(lambda: len(set(children_of(os.getpid())).difference(others)) == 1)
        made.pause_or_resume()
        wait_for(lambda: states(heard)[-1] is PAUSED)
        assert children_of(os.getpid()) == others

    assert heard.restarts == []


def test_a_stop_ends_a_pause() -> None:
    """A source that is paused stops at once."""
    heard = Recorder()
    made = source(*child(HEALTHY, "forever"))
    with running(made, heard) as run:
        wait_for(lambda: heard.lines)
        made.pause_or_resume()
        wait_for(lambda: states(heard) == [PAUSED])
        assert run.end() < 1

    assert states(heard) == [PAUSED]


def test_what_has_no_child_cannot_be_paused(tmp_path: Path) -> None:
    """Standard input and files say so."""
    assert StdinSource(100).pause_or_resume() is None
    assert FileSource(str(tmp_path), 100, 1.0, repeat=False).pause_or_resume() is None


def test_a_rouse_ends_one_wait_and_hides_no_stop() -> None:
    """Who rouses ends one wait; who asks to stop ends all, also after that was heard."""
    wake = Wake()
    started = time.monotonic()
    for _ in range(3):
        wake.rouse()
        wake.rouse()
        assert not wake.wait(60)
    before = time.monotonic()
    assert not wake.wait(0.1)
    assert time.monotonic() - before >= 0.1
    wake.ask()
    wake.hear()
    assert wake.wait(60)
    for _ in range(100_000):  # more than the pipe inside can hold
        wake.rouse()
    assert wake.wait(60)
    assert time.monotonic() - started < 5
