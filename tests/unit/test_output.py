"""Output that never blocks its writers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from neuron_exporter import output
from neuron_exporter.output import MAX_LINES, QueuedOutput
from tests.support.full_pipe import FullPipe, full_pipe
from tests.support.waiting import wait_for


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    """Open a full pipe."""
    with full_pipe() as opened:
        yield opened


def test_lines_are_written_in_order() -> None:
    reading, writing = os.pipe()
    lines = [b"line %d\n" % number for number in range(50)]
    queued = QueuedOutput(writing)
    for line in lines:
        assert queued.write(line) == len(line)
    queued.finish()
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.readlines() == lines


def test_lines_beyond_the_limit_are_dropped(pipe: FullPipe) -> None:
    """They are counted at once, and reported once, when the lines before them are written."""
    queued = QueuedOutput(pipe.writing)
    drops: list[int] = []
    reported: list[int] = []
    queued.on_drop = lambda: drops.append(1)
    queued.on_recovery = reported.append
    queued.write(b"first\n")
    wait_for(queued._queue.empty)  # the thread has taken it, and is blocked
    for number in range(MAX_LINES + 7):
        queued.write(b"%d\n" % number)
    assert (len(drops), reported) == (7, [])

    lines = pipe.lines()
    assert [next(lines) for _ in range(MAX_LINES + 1)][-1] == str(MAX_LINES - 1)
    wait_for(lambda: reported)
    queued.write(b"last\n")
    assert next(lines) == "last"
    queued.finish()
    assert reported == [7]


def test_finish_does_not_wait_for_a_stuck_reader(
    pipe: FullPipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "EXIT_SECONDS", 0.05)
    queued = QueuedOutput(pipe.writing)
    queued.write(b"first\n")
    queued.finish()
    queued.write(b"a warning of the interpreter\n")

    lines = pipe.lines()
    assert next(lines) == "first"
    queued.write(b"another\n")
    assert next(lines) == "another"


@pytest.mark.parametrize("path", ["/dev/full", "no reader"])
def test_failed_writes_are_counted(path: str) -> None:
    if path == "no reader":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(path, os.O_WRONLY)
    queued = QueuedOutput(writing)
    drops: list[int] = []
    queued.on_drop = lambda: drops.append(1)
    queued.write(b"lost\n")
    queued.finish()
    os.close(writing)
    assert len(drops) == 1
    assert isinstance(queued.error, OSError)


def test_stream_that_another_process_made_nonblocking(pipe: FullPipe) -> None:
    os.set_blocking(pipe.writing, False)
    queued = QueuedOutput(pipe.writing)
    queued.write(b"x" * 10_000 + b"\n")
    wait_for(queued._queue.empty)  # the thread has taken it
    lines = pipe.lines()
    assert next(lines) == "x" * 10_000


def test_end_of_the_program_with_a_nonblocking_stuck_reader(
    pipe: FullPipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread still waits for the reader when the interpreter prints a warning."""
    monkeypatch.setattr(output, "EXIT_SECONDS", 0.05)
    os.set_blocking(pipe.writing, False)
    queued = QueuedOutput(pipe.writing)
    queued.write(b"first\n")
    wait_for(queued._queue.empty)  # the thread has taken it
    queued.finish()
    assert queued.write(b"a warning of the interpreter\n") == 29
    assert next(pipe.lines()) == "first"


def test_system_without_a_free_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are written without one, if they fit."""
    reading, writing = os.pipe()
    queued = QueuedOutput(writing)
    with monkeypatch.context() as no_thread:
        no_thread.setattr(threading.Thread, "start", fail_to_start)
        assert queued.write(b"first\n") == 6
    queued.write(b"second\n")
    queued.finish()
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.readlines() == [b"first\n", b"second\n"]


def fail_to_start(_: threading.Thread) -> None:
    """Fail as Python does where the number of threads or processes is limited."""
    raise RuntimeError("can't start new thread")
