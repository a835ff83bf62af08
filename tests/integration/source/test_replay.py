"""Standard input that falls silent."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from neuron_exporter.model import SourceState
from neuron_exporter.source import StdinSource
from neuron_exporter.source import replay as replay
from neuron_exporter.source.watchdog import Watchdog
from tests.support.source_thread import Input, RecordingListener, open_input, running_source
from tests.support.waiting import wait_for

MIB = 2**20
REPORTS = [b'{"p": 0.01, "number": %d}' % number for number in range(20)]


@pytest.fixture
def stdin() -> Iterator[Input]:
    """Yield an input and close it afterwards."""
    with open_input() as pipe:
        yield pipe


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts and ticks of the standard input source."""
    monkeypatch.setattr(
        replay, "Watchdog", functools.partial(Watchdog, silence_timeout=0.2, start_timeout=0.2)
    )
    monkeypatch.setattr(replay, "_MAX_WAIT", 0.05)


@pytest.mark.usefixtures("short_timeouts")
def test_silent_input(stdin: Input) -> None:
    """Silence is reported once, until the next report."""
    listener = RecordingListener()
    silent = (SourceState.STALLED, "no report on standard input")
    with running_source(StdinSource(MIB, stdin.reading), listener) as run:
        wait_for(lambda: listener.states)
        ticks = len(listener.ticks)
        wait_for(lambda: len(listener.ticks) > ticks + 4)
        assert listener.states == [silent]

        stdin.write(REPORTS[0] + b"\n")
        wait_for(lambda: len(listener.states) == 2)
        assert listener.states == [silent, silent]
        run.end()


@pytest.mark.usefixtures("short_timeouts")
def test_silent_input_between_ticks(stdin: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is reported when it is due, and then costs ticks only."""
    monkeypatch.setattr(replay, "_MAX_WAIT", 3600)
    listener = RecordingListener()
    with running_source(StdinSource(MIB, stdin.reading), listener) as run:
        wait_for(lambda: listener.states)
        stdin.write(REPORTS[0] + b"\n")
        wait_for(lambda: len(listener.states) == 2)
        run.end()

    assert [state for state, _ in listener.states] == [SourceState.STALLED] * 2
    assert len(listener.ticks) < 20


@pytest.mark.usefixtures("short_timeouts")
def test_garbage_after_silence(stdin: Input) -> None:
    """The state changes from STALLED to GARBAGE."""
    listener = RecordingListener()
    with running_source(StdinSource(MIB, stdin.reading), listener) as run:
        wait_for(lambda: listener.states)
        stdin.write(b"hello\n")
        wait_for(lambda: len(listener.states) == 2)
        run.end()

    assert [state for state, _ in listener.states] == [SourceState.STALLED, SourceState.GARBAGE]
