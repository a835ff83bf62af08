"""Reports from a file or from standard input."""

from __future__ import annotations

import functools
import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.model import SourceState
from neuron_exporter.source import FileSource, SourceError, StdinSource
from neuron_exporter.source import replay as files
from neuron_exporter.source.watchdog import Watchdog
from tests.support.listening import Recorder, running
from tests.support.waiting import wait_for

MIB = 2**20
REPORTS = [b'{"p": 0.01, "number": %d}' % number for number in range(20)]
ENDED = (SourceState.EXITED, "end of the file")


def written(folder: Path, lines: list[bytes], *, packed: bool = False, last: bytes = b"") -> str:
    """A file of these lines."""
    path = folder / ("reports.gz" if packed else "reports.ndjson")
    data = b"".join(line + b"\n" for line in lines) + last
    path.write_bytes(gzip.compress(data) if packed else data)
    return str(path)


def replayed(path: str, *, speed: float = 0, max_line: int = MIB) -> Recorder:
    """What a file says, once."""
    heard = Recorder()
    FileSource(path, max_line, speed, repeat=False).run(heard)
    return heard


# Files


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("half", [b"", b'{"half": 1}'], ids=["ended", "half"])
def test_every_line_of_a_file_is_given(tmp_path: Path, packed: bool, half: bytes) -> None:
    """Lines come in order, compressed or not, the last one also without an end; then it ends."""
    heard = replayed(written(tmp_path, REPORTS, packed=packed, last=half))

    assert heard.lines == [*REPORTS, *([half] if half else [])]
    assert heard.states == [ENDED]


def test_what_is_no_report_costs_only_itself(tmp_path: Path) -> None:
    """Text, empty lines and lines beyond the limit stand in nobody's way."""
    lines = [b"hello", REPORTS[0], b"", b"x" * 2000, REPORTS[1], b"x" * 3000]
    heard = replayed(written(tmp_path, lines), max_line=1024)

    assert heard.lines == [b"hello", REPORTS[0], REPORTS[1]]
    assert heard.too_long == [2000, 3000]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no report of neuron-monitor in it"),
        (b"\n\n", "no report of neuron-monitor in it"),
        (b"hello\nworld\n", "no report of neuron-monitor in it"),
        (b"x" * 5000, "no report of neuron-monitor in it"),
        (gzip.compress(b""), "no report of neuron-monitor in it"),
        (b"\x1f\x8bno gzip at all", "cannot be read: Unknown compression method"),
        (gzip.compress(os.urandom(5000))[:3000], "cannot be read: Compressed file ended before"),
        (gzip.compress(REPORTS[0] + b"\n")[:-4] + b"oops", "cannot be read: Incorrect length"),
    ],
    ids=["empty", "lines", "text", "long", "empty gzip", "no gzip", "truncated", "damaged"],
)
def test_a_file_without_reports_is_an_error(tmp_path: Path, content: bytes, reason: str) -> None:
    """The error names the file and says what is wrong with it."""
    path = tmp_path / "reports"
    path.write_bytes(content)

    with pytest.raises(SourceError) as caught:
        replayed(str(path), max_line=1024)

    assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing", "No such file or directory"), ("", "Is a directory")],
)
def test_what_cannot_be_opened_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    """The error names the path and gives the system's reason, without numbers."""
    path = str(tmp_path / name)

    with pytest.raises(SourceError) as caught:
        replayed(path)

    assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    """Reports before the damage are given; then the damage is told."""
    noise = [b'{"noise": "%s"}' % os.urandom(500).hex().encode() for _ in range(100)]
    path = Path(written(tmp_path, noise, packed=True))
    path.write_bytes(path.read_bytes()[:-2000])
    heard = Recorder()

    with pytest.raises(SourceError, match="cannot be read: Compressed file ended"):
        FileSource(str(path), MIB, 0, repeat=False).run(heard)

    assert 50 < len(heard.lines) < 100
    assert heard.lines == noise[: len(heard.lines)]


def test_a_file_may_be_repeated(tmp_path: Path) -> None:
    """At its end a file begins again, until it is stopped, and never tells an end."""
    heard = Recorder()
    source = FileSource(written(tmp_path, REPORTS), MIB, 0, repeat=True)
    with running(source, heard) as run:
        wait_for(lambda: len(heard.lines) > 3 * len(REPORTS))
        run.end()

    assert heard.lines[: 2 * len(REPORTS)] == REPORTS * 2
    assert heard.states == []


def test_speed_zero_does_not_wait(tmp_path: Path) -> None:
    """Hours of reports are replayed at once."""
    before = time.monotonic()
    heard = replayed(written(tmp_path, [b'{"p": 60}'] * 1000))

    assert len(heard.lines) == 1000
    assert time.monotonic() - before < 10


def test_reports_come_at_their_own_periods(tmp_path: Path) -> None:
    """Each report is followed by the next after its own period, divided by the speed."""
    periods = [4, 0, 8, 2, 1]
    path = written(tmp_path, [b'{"p": %d}' % period for period in periods])
    heard = replayed(path, speed=20)

    ended = time.monotonic()
    came = [at.monotonic for at in heard.times]
    pauses = [after - before for before, after in zip(came, [*came[1:], ended], strict=True)]
    assert all(pause >= period / 20 for pause, period in zip(pauses, periods, strict=True))
    assert sum(pauses) < 5


def test_a_report_that_claims_centuries_is_not_waited_for(tmp_path: Path) -> None:
    """No report is waited for longer than the longest period that can be asked for."""
    before = time.monotonic()
    replayed(written(tmp_path, [b'{"p": 1e18}', REPORTS[0]]), speed=36_000)

    assert 0.1 <= time.monotonic() - before < 10


def test_a_pause_can_be_stopped(tmp_path: Path) -> None:
    """Stop ends the wait for the next report at once, and nothing more is given or told."""
    heard = Recorder()
    source = FileSource(written(tmp_path, [b'{"p": 3600}'] * 3), MIB, 1, repeat=False)
    with running(source, heard) as run:
        wait_for(lambda: heard.lines)

        assert run.end() < 1

    assert len(heard.lines) == 1


def test_the_thread_is_seen_alive_in_a_pause(tmp_path: Path) -> None:
    """Waiting for the next report is no death: there is a tick a second."""
    heard = Recorder()
    source = FileSource(written(tmp_path, [b'{"p": 3600}']), MIB, 1, repeat=False)
    with running(source, heard):
        wait_for(lambda: len(heard.ticks) >= 4)

    assert heard.longest_silence() < 2


def test_stop_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """A listener that has enough is given nothing more."""

    def enough(line: bytes) -> None:
        if line == REPORTS[4]:
            source.stop()

    heard = Recorder(enough)
    source = FileSource(written(tmp_path, REPORTS), MIB, 0, repeat=True)
    source.run(heard)

    assert heard.lines == REPORTS[:5]


def test_a_file_without_ends_of_lines_can_be_stopped(tmp_path: Path) -> None:
    """A reader in the middle of one huge line sees the stop, and is seen alive."""
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 2**37)  # takes no room on the disk, and minutes to read
    heard = Recorder()
    with running(FileSource(str(path), MIB, 0, repeat=False), heard) as run:
        wait_for(lambda: len(heard.ticks) > 5)

        assert run.end() < 5

    assert heard.lines == []


# Standard input


class Input:
    """A pipe that stands for standard input."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        self._open = True

    def write(self, data: bytes) -> None:
        """Write into the pipe."""
        os.write(self._writing, data)

    def end(self) -> None:
        """End the input."""
        if self._open:
            os.close(self._writing)
            self._open = False


@pytest.fixture
def given() -> Iterator[Input]:
    """A pipe that is closed after the test."""
    made = Input()
    yield made
    made.end()
    os.close(made.reading)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is complained of after a fraction of a second, and looked for as often."""
    monkeypatch.setattr(files, "Watchdog", functools.partial(Watchdog, patience=0.2, grace=0.2))
    monkeypatch.setattr(files, "_TICK", 0.05)


def test_standard_input_is_read_to_its_end(given: Input) -> None:
    """Lines come as they are written, half ones when they are whole, the last one at the end."""
    heard = Recorder()
    with running(StdinSource(MIB, given.reading), heard) as run:
        given.write(REPORTS[0] + b"\n" + REPORTS[1][:5])
        wait_for(lambda: heard.lines == REPORTS[:1])
        given.write(REPORTS[1][5:] + b"\n" + REPORTS[2])
        wait_for(lambda: heard.lines == REPORTS[:2])
        given.end()
        run.join()

    assert heard.lines == REPORTS[:3]
    assert heard.states == [(SourceState.EXITED, "end of input")]


@pytest.mark.parametrize("written", [b"", b'{"p": 0.01}\nhalf of a li'], ids=["nothing", "half"])
def test_a_wait_for_input_can_be_stopped(given: Input, written: bytes) -> None:
    """Stop ends the wait at once, and is no end of input."""
    heard = Recorder()
    with running(StdinSource(MIB, given.reading), heard) as run:
        given.write(written)
        wait_for(lambda: heard.lines or not written)

        assert run.end() < 1

    assert heard.states == []
    assert len(heard.lines) <= 1


@pytest.mark.usefixtures("impatient")
def test_silence_is_said_once_and_waited_out(given: Input) -> None:
    """Input that pauses is said to be stalled; when it goes on it may pause again."""
    heard = Recorder()
    silent = (SourceState.STALLED, "no report on standard input")
    with running(StdinSource(MIB, given.reading), heard) as run:
        wait_for(lambda: heard.states)
        ticks = len(heard.ticks)
        wait_for(lambda: len(heard.ticks) > ticks + 4)
        assert heard.states == [silent]

        given.write(REPORTS[0] + b"\n")
        wait_for(lambda: len(heard.states) == 2)
        assert heard.states == [silent, silent]
        run.end()


@pytest.mark.usefixtures("impatient")
def test_noise_after_silence_is_said(given: Input) -> None:
    """Input that is silent and then no report is told as what it is now."""
    heard = Recorder()
    with running(StdinSource(MIB, given.reading), heard) as run:
        wait_for(lambda: heard.states)
        given.write(b"hello\n")
        wait_for(lambda: len(heard.states) == 2)
        run.end()

    assert [state for state, _ in heard.states] == [SourceState.STALLED, SourceState.GARBAGE]


def test_a_source_that_was_stopped_before_does_not_begin(tmp_path: Path, given: Input) -> None:
    """A stop that comes before the start is not forgotten."""
    heard = Recorder()
    path = written(tmp_path, REPORTS)
    for source in (StdinSource(MIB, given.reading), FileSource(path, MIB, 1, repeat=True)):
        source.stop()
        source.run(heard)

    assert heard.lines == []
