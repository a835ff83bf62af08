"""Sources that read standard input or replay a file."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import BinaryIO, cast

from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.source.stream import (
    Framer,
    ReadResult,
    SourceError,
    SourceListener,
    Stream,
    WakeupPipe,
)
from neuron_exporter.source.watchdog import MAX_PERIOD, Watchdog

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_WAIT = 10.0
_TICK = 2.0


class _ReaderSource:
    """Source without a child process, which can be stopped but not paused."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._wakeup = WakeupPipe()

    def stop(self) -> None:
        """Make `run` return."""
        self._wakeup.request_stop()

    def pause_or_resume(self) -> None:
        """Return None: there is no child process to pause."""


class StdinSource(_ReaderSource):
    """Source that reads reports from standard input."""

    def __init__(self, max_line: int, fd: int = 0) -> None:
        super().__init__(max_line)
        self._fd = fd

    def run(self, listener: SourceListener) -> None:
        """Read to the end of input. Report silence as a state, and keep waiting.

        Raises:
            SourceError: the input contains no report.
        """
        stream = Stream(self._fd, self._max_line, listener, self._wakeup)
        watchdog = Watchdog(period=0.0)
        reported: SourceState | None = None
        while not self._wakeup.stop_requested():
            # Once silence is reported, only the next bytes matter.
            due = watchdog.deadline(stream) - time.monotonic() if reported is None else _MAX_WAIT
            result = stream.read_available(max(0.0, min(_MAX_WAIT, due)))
            listener.on_tick()
            if result is ReadResult.END:
                stream.finish()
                if stream.last_report is None:
                    raise SourceError("standard input: contains no report of neuron-monitor")
                listener.on_state(SourceState.EXITED, "end of input")
                return
            problem = watchdog.check(stream, time.monotonic())
            if problem is not None and problem is not reported:
                listener.on_state(problem, "no report on standard input")
            reported = problem


class FileSource(_ReaderSource):
    """Source that replays a file of reports, one per line, plain or compressed with gzip.

    After each report it waits for the period that the report covers, divided by `speed`. Speed 0
    does not wait.
    """

    def __init__(self, path: str, max_line: int, speed: float, *, repeat: bool) -> None:
        super().__init__(max_line)
        self._path = path
        self._speed = speed
        self._repeat = repeat

    def run(self, listener: SourceListener) -> None:
        """Pass on every line of the file, over and over if `repeat` is set.

        Raises:
            SourceError: the file cannot be read, or contains no report.
        """
        while not self._wakeup.stop_requested():
            try:
                reports = self._replay(listener)
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise SourceError(f"{self._path}: cannot be read: {reason}") from error
            if not reports and not self._wakeup.stop_requested():
                raise SourceError(f"{self._path}: contains no report of neuron-monitor")
            if not self._repeat:
                listener.on_state(SourceState.EXITED, "end of the file")
                return

    def _replay(self, listener: SourceListener) -> int:
        """Pass on the whole file once and return its number of reports."""
        framer = Framer(self._max_line, listener.on_skipped)
        reports = 0
        with _open(self._path) as file:
            while count := file.readinto(framer.free_space()):  # type: ignore[attr-defined]
                listener.on_tick()  # a large file may have no newline at all
                if self._wakeup.stop_requested():
                    return reports
                for line in framer.advance(count):
                    if self._wakeup.stop_requested():
                        return reports
                    reports += self._pass_on(line, listener)
        rest = framer.rest()
        if rest is not None and not self._wakeup.stop_requested():
            reports += self._pass_on(rest, listener)
        return reports

    def _pass_on(self, line: memoryview, listener: SourceListener) -> bool:
        started = time.monotonic()
        period = listener.on_line(line, Timestamp(time.time(), started))
        listener.on_tick()
        pause = min(period or 0.0, MAX_PERIOD) / self._speed if self._speed else 0.0
        while (left := started + pause - time.monotonic()) > 0:
            if self._wakeup.wait(min(left, _TICK)):
                break
            listener.on_tick()
        return period is not None


def _open(path: str) -> BinaryIO:
    with open(path, "rb") as file:
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if compressed:
        return cast(BinaryIO, gzip.open(path, "rb"))
    return open(path, "rb")
