"""Replay of files, and standard input."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.model import SourceState
from neuron_exporter.source import FileSource, SourceError, StdinSource
from neuron_exporter.source import replay as replay
from tests.support.source_thread import (
    Input,
    RecordingListener,
    open_input,
    record_waits,
    running_source,
)
from tests.support.waiting import wait_for

MIB = 2**20
REPORTS = [b'{"p": 0.01, "number": %d}' % number for number in range(20)]
ENDED = (SourceState.EXITED, "end of the file")


def write_file(
    folder: Path, lines: list[bytes], *, compressed: bool = False, last: bytes = b""
) -> str:
    """Write a file of these lines and return its path."""
    path = folder / ("reports.gz" if compressed else "reports.ndjson")
    data = b"".join(line + b"\n" for line in lines) + last
    path.write_bytes(gzip.compress(data) if compressed else data)
    return str(path)


def replay_once(path: str, *, speed: float = 0, max_line: int = MIB) -> RecordingListener:
    """Replay a file once and return the listener."""
    listener = RecordingListener()
    FileSource(path, max_line, speed, repeat=False).run(listener)
    return listener


# Files


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("last", [b"", b'{"half": 1}'], ids=["terminated", "unterminated"])
def test_lines_of_a_file(tmp_path: Path, compressed: bool, last: bytes) -> None:
    """All lines are passed on in order, including an unterminated last one."""
    listener = replay_once(write_file(tmp_path, REPORTS, compressed=compressed, last=last))

    assert listener.lines == [*REPORTS, *([last] if last else [])]
    assert listener.states == [ENDED]


def test_invalid_lines_in_a_file(tmp_path: Path) -> None:
    """Text, empty lines and too long lines do not affect other lines."""
    lines = [b"hello", REPORTS[0], b"", b"x" * 2000, REPORTS[1], b"x" * 3000]
    listener = replay_once(write_file(tmp_path, lines), max_line=1024)

    assert listener.lines == [b"hello", REPORTS[0], REPORTS[1]]
    assert listener.skipped_lengths == [2000, 3000]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "contains no report of neuron-monitor"),
        (b"\n\n", "contains no report of neuron-monitor"),
        (b"hello\nworld\n", "contains no report of neuron-monitor"),
        (b"x" * 5000, "contains no report of neuron-monitor"),
        (gzip.compress(b""), "contains no report of neuron-monitor"),
        (b"\x1f\x8bno gzip at all", "cannot be read: Unknown compression method"),
        (gzip.compress(os.urandom(5000))[:3000], "cannot be read: Compressed file ended before"),
        (gzip.compress(REPORTS[0] + b"\n")[:-4] + b"oops", "cannot be read: Incorrect length"),
    ],
    ids=["empty", "lines", "text", "long", "empty gzip", "no gzip", "truncated", "damaged"],
)
def test_file_without_reports(tmp_path: Path, content: bytes, reason: str) -> None:
    """The error contains the path and the reason."""
    path = tmp_path / "reports"
    path.write_bytes(content)

    with pytest.raises(SourceError) as caught:
        replay_once(str(path), max_line=1024)

    assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing", "No such file or directory"), ("", "Is a directory")],
)
def test_unreadable_path(tmp_path: Path, name: str, reason: str) -> None:
    """The error contains the path and the system's reason."""
    path = str(tmp_path / name)

    with pytest.raises(SourceError) as caught:
        replay_once(path)

    assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_truncated_gzip(tmp_path: Path) -> None:
    """Reports before the truncation are passed on."""
    noise = [b'{"noise": "%s"}' % os.urandom(500).hex().encode() for _ in range(100)]
    path = Path(write_file(tmp_path, noise, compressed=True))
    path.write_bytes(path.read_bytes()[:-2000])
    listener = RecordingListener()

    with pytest.raises(SourceError, match="cannot be read: Compressed file ended"):
        FileSource(str(path), MIB, 0, repeat=False).run(listener)

    assert 50 < len(listener.lines) < 100
    assert listener.lines == noise[: len(listener.lines)]


def test_repeat(tmp_path: Path) -> None:
    """A repeated file starts again at its end, without a state."""
    listener = RecordingListener()
    source = FileSource(write_file(tmp_path, REPORTS), MIB, 0, repeat=True)
    with running_source(source, listener) as run:
        wait_for(lambda: len(listener.lines) > 3 * len(REPORTS))
        run.end()

    assert listener.lines[: 2 * len(REPORTS)] == REPORTS * 2
    assert listener.states == []


def test_speed_zero(tmp_path: Path) -> None:
    """A file that covers 17 hours is replayed without waiting."""
    listener = replay_once(write_file(tmp_path, [b'{"p": 60}'] * 1000))

    assert len(listener.lines) == 1000


def test_replay_speed(tmp_path: Path) -> None:
    """The next report follows after the period divided by the speed."""
    periods = [1600, 0, 3200, 800, 400]  # an undivided wait would take hours
    path = write_file(tmp_path, [b'{"p": %d}' % period for period in periods])
    listener = replay_once(path, speed=8000)

    ended = time.monotonic()
    came = [at.monotonic for at in listener.times]
    pauses = [after - before for before, after in zip(came, [*came[1:], ended], strict=True)]
    assert all(pause >= period / 8000 for pause, period in zip(pauses, periods, strict=True))


def test_huge_period_is_capped(tmp_path: Path) -> None:
    """The wait after a report is capped at the longest period that can be configured."""
    before = time.monotonic()
    replay_once(write_file(tmp_path, [b'{"p": 1e18}', REPORTS[0]]), speed=36_000)

    assert time.monotonic() - before >= 0.1


def test_stop_between_reports(tmp_path: Path) -> None:
    listener = RecordingListener()
    source = FileSource(write_file(tmp_path, [b'{"p": 3600}'] * 3), MIB, 1, repeat=False)
    with running_source(source, listener) as run:
        wait_for(lambda: listener.lines)
        run.end()

    assert len(listener.lines) == 1


def test_ticks_between_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source ticks at least every two seconds while it waits."""
    waits = record_waits(monkeypatch)
    listener = RecordingListener()
    source = FileSource(write_file(tmp_path, [b'{"p": 3600}']), MIB, 1, repeat=False)
    with running_source(source, listener):
        wait_for(lambda: len(listener.ticks) >= 4)

    assert max(waits) <= 2


def test_stop_within_a_file(tmp_path: Path) -> None:
    """After `stop` no more lines are passed on."""

    def stop_after_five(line: bytes) -> None:
        if line == REPORTS[4]:
            source.stop()

    listener = RecordingListener(stop_after_five)
    source = FileSource(write_file(tmp_path, REPORTS), MIB, 0, repeat=True)
    source.run(listener)

    assert listener.lines == REPORTS[:5]


def test_stop_within_a_huge_line(tmp_path: Path) -> None:
    """The source ticks and can be stopped while it reads a line of 128 GiB."""
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 2**37)  # a sparse file: no disk space, and minutes to read
    listener = RecordingListener()
    with running_source(FileSource(str(path), MIB, 0, repeat=False), listener) as run:
        wait_for(lambda: len(listener.ticks) > 5)
        run.end()

    assert listener.lines == []


# Standard input


@pytest.fixture
def stdin() -> Iterator[Input]:
    """Yield an input and close it afterwards."""
    with open_input() as pipe:
        yield pipe


def test_standard_input(stdin: Input) -> None:
    """Lines are passed on when they are complete, the last one at the end of input."""
    listener = RecordingListener()
    with running_source(StdinSource(MIB, stdin.reading), listener) as run:
        stdin.write(REPORTS[0] + b"\n" + REPORTS[1][:5])
        wait_for(lambda: listener.lines == REPORTS[:1])
        stdin.write(REPORTS[1][5:] + b"\n" + REPORTS[2])
        wait_for(lambda: listener.lines == REPORTS[:2])
        stdin.end()
        run.join()

    assert listener.lines == REPORTS[:3]
    assert listener.states == [(SourceState.EXITED, "end of input")]


@pytest.mark.parametrize("data", [b"", b'{"p": 0.01}\nhalf of a li'], ids=["nothing", "half"])
def test_stop_while_waiting_for_input(stdin: Input, data: bytes) -> None:
    """Stopping is not an end of input."""
    listener = RecordingListener()
    with running_source(StdinSource(MIB, stdin.reading), listener) as run:
        stdin.write(data)
        wait_for(lambda: listener.lines or not data)
        run.end()

    assert listener.states == []
    assert len(listener.lines) <= 1


def test_stop_before_start(tmp_path: Path, stdin: Input) -> None:
    """A source that is stopped before `run` does not read."""
    listener = RecordingListener()
    path = write_file(tmp_path, REPORTS)
    for source in (StdinSource(MIB, stdin.reading), FileSource(path, MIB, 1, repeat=True)):
        source.stop()
        source.run(listener)

    assert listener.lines == []
