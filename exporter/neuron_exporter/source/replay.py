"""Lines from standard input, and from a file that is replayed."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import BinaryIO, cast

from neuron_exporter.model import Moment, SourceState
from neuron_exporter.source.stream import Framer, Listener, Pumped, SourceError, Stream, Wake
from neuron_exporter.source.watchdog import LONGEST_PERIOD, Watchdog

_GZIP_MAGIC = b"\x1f\x8b"
_TICK = 1.0


class StdinSource:
    """Reads what somebody else's neuron-monitor writes into a pipe."""

    def __init__(self, max_line: int, fd: int = 0) -> None:
        self._max_line = max_line
        self._fd = fd
        self._wake = Wake()

    def run(self, listener: Listener) -> None:
        """Read to the end of input. Silence is said, and waited out."""
        stream = Stream(self._fd, self._max_line, listener, self._wake)
        watchdog = Watchdog(period=0.0)
        told: SourceState | None = None
        while not self._wake.asked():
            pumped = stream.pump(_TICK)
            listener.tick()
            if pumped is Pumped.END:
                stream.finish()
                listener.state(SourceState.EXITED, "end of input")
                return
            complaint = watchdog.complaint(stream, time.monotonic())
            if complaint is not None and complaint is not told:
                listener.state(complaint, "no report on standard input")
            told = complaint

    def stop(self) -> None:
        """Make `run` return."""
        self._wake.ask()

    def pause_or_resume(self) -> None:
        """There is no child that could be paused."""


class FileSource:
    """Replays a file of reports, one a line, plain or compressed with gzip.

    Each report is followed by the next after the period that it covers, divided by `speed`;
    speed 0 does not wait.
    """

    def __init__(self, path: str, max_line: int, speed: float, *, repeat: bool) -> None:
        self._path = path
        self._max_line = max_line
        self._speed = speed
        self._repeat = repeat
        self._wake = Wake()

    def run(self, listener: Listener) -> None:
        """Give every line of the file, and begin again where it is to be repeated.

        Raises:
            SourceError: the file cannot be read, or holds no report.
        """
        while not self._wake.asked():
            try:
                reports = self._replay(listener)
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise SourceError(f"{self._path}: cannot be read: {reason}") from error
            if not reports and not self._wake.asked():
                raise SourceError(f"{self._path}: no report of neuron-monitor in it")
            if not self._repeat:
                listener.state(SourceState.EXITED, "end of the file")
                return

    def stop(self) -> None:
        """Make `run` return."""
        self._wake.ask()

    def pause_or_resume(self) -> None:
        """There is no child that could be paused."""

    def _replay(self, listener: Listener) -> int:
        """Give the whole file once; gives how many reports were in it."""
        framer = Framer(self._max_line, listener.skipped)
        reports = 0
        with _open(self._path) as file:
            while count := file.readinto(framer.room()):  # type: ignore[attr-defined]
                listener.tick()  # a file without ends of lines may be large, too
                if self._wake.asked():
                    return reports
                for line in framer.advance(count):
                    if self._wake.asked():
                        return reports
                    reports += self._give(line, listener)
        rest = framer.rest()
        if rest is not None and not self._wake.asked():
            reports += self._give(rest, listener)
        return reports

    def _give(self, line: memoryview, listener: Listener) -> bool:
        started = time.monotonic()
        period = listener.line(line, Moment(time.time(), started))
        listener.tick()
        pause = min(period or 0.0, LONGEST_PERIOD) / self._speed if self._speed else 0.0
        while (left := started + pause - time.monotonic()) > 0:
            if self._wake.wait(min(left, _TICK)):
                break
            listener.tick()
        return period is not None


def _open(path: str) -> BinaryIO:
    with open(path, "rb") as file:
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if compressed:
        return cast(BinaryIO, gzip.open(path, "rb"))
    return open(path, "rb")
