"""Cuts a stream of bytes into lines of any length, and waits for it without hanging."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Protocol

from neuron_exporter.model import Moment, SourceState

_FIRST_BUFFER = 64 * 1024
_LARGEST_KEPT_BUFFER = 1024 * 1024
_LEAST_ROOM = 16 * 1024
_PIPE_SIZE = 1024 * 1024
_ROUSES = 64 * 1024  # all that a pipe holds


class SourceError(Exception):
    """The source can give nothing, and trying again would not change that."""


class Listener(Protocol):
    """Who is told what the source gives. Called from the thread that runs the source."""

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Take a line, valid during the call only; gives the period (s) of the report in it.

        None means that the line was no report.
        """

    def skipped(self, length: int) -> None:
        """Learn that a line of `length` bytes was too long and was not kept."""

    def state(self, state: SourceState, detail: str) -> None:
        """Learn what the source is doing now."""

    def restarting(self, reason: str, delay: float) -> None:
        """Learn that the source will be started again in `delay` seconds."""

    def stderr(self, line: str) -> None:
        """Take a line of the source's standard error."""

    def tick(self) -> None:
        """Learn that the thread of the source is alive; at least every two seconds."""


class Source(Protocol):
    """Something that gives lines until it ends or is stopped."""

    def run(self, listener: Listener) -> None:
        """Give all lines to the listener; returns at the end of input or after `stop`."""

    def stop(self) -> None:
        """Make `run` return soon. May be called from any thread, more than once."""

    def pause_or_resume(self) -> bool | None:
        """Pause, or go on; gives whether it is to be paused now, None for what cannot be.

        May be called from any thread.
        """


class Framer:
    """Cuts what is read into lines, in one buffer that grows with the longest line.

    A line longer than `max_line` is skipped: its bytes are thrown away as they come and `on_skip`
    is told their number at its end.
    """

    def __init__(self, max_line: int, on_skip: Callable[[int], None]) -> None:
        self._max_line = max_line
        self._on_skip = on_skip
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        self._start = self._end = 0
        self._skipping = 0

    def room(self) -> memoryview:
        """Where to read the next bytes to. Lines given before are overwritten."""
        held = self._end - self._start
        if not held:
            self._start = self._end = 0
            if len(self._buffer) > _LARGEST_KEPT_BUFFER:
                self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        elif len(self._buffer) - self._end < _LEAST_ROOM:
            buffer = self._buffer
            if len(buffer) - held < len(buffer) // 4:
                buffer = memoryview(bytearray(2 * len(buffer)))
            buffer[:held] = bytes(self._buffer[self._start : self._end])
            self._buffer, self._start, self._end = buffer, 0, held
        return self._buffer[self._end :]

    def advance(self, count: int) -> Iterator[memoryview]:
        """The lines that `count` more bytes have completed, without their ends."""
        data: bytearray = self._buffer.obj  # type: ignore[assignment]
        scanned, self._end = self._end, self._end + count
        while (newline := data.find(b"\n", scanned, self._end)) >= 0:
            line = self._buffer[self._start : newline]
            self._start = scanned = newline + 1
            if self._skipping or len(line) > self._max_line:
                self._skip(len(line))
                self._on_skip(self._skipping)
                self._skipping = 0
            elif len(line):
                yield line
        if self._skipping or self._end - self._start > self._max_line:
            self._skip(self._end - self._start)
            self._start = self._end

    def rest(self) -> memoryview | None:
        """What stands after the last end of a line, when no more is to come."""
        if self._skipping:
            self._on_skip(self._skipping)
            self._skipping = 0
            return None
        return self._buffer[self._start : self._end] if self._end > self._start else None

    @property
    def skipping(self) -> bool:
        """Whether the line that is coming is too long already."""
        return self._skipping > 0

    def _skip(self, count: int) -> None:
        self._skipping += count


class Wake:
    """Ends another thread's wait, once or for good. A pipe, so that `poll` sees it, too."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._asked = False

    def __del__(self) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def fileno(self) -> int:
        """Readable once somebody asked to stop, or roused and was not heard yet."""
        return self._reading

    def ask(self) -> None:
        """Ask to stop."""
        self._asked = True
        self.rouse()

    def rouse(self) -> None:
        """End the wait that is under way, or the next."""
        with suppress(BlockingIOError):  # it is full, and so can be read
            os.write(self._writing, b"!")

    def hear(self) -> None:
        """Let the next wait last, unless somebody asked to stop."""
        with suppress(BlockingIOError):
            os.read(self._reading, _ROUSES)
        if self._asked:
            self.rouse()

    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until somebody rouses; gives whether somebody asked to stop."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        if poll.poll(max(0, seconds) * 1000):
            self.hear()
        return self._asked


class Pumped(Enum):
    """How one attempt to read ended."""

    DATA = "data"
    SILENCE = "silence"
    END = "end"


class Stream:
    """Reads a file descriptor line by line and gives the lines to the listener."""

    def __init__(self, fd: int, max_line: int, listener: Listener, wake: Wake) -> None:
        self._fd = fd
        self._listener = listener
        self._framer = Framer(max_line, self._skip)
        with suppress(OSError):  # not a pipe, or larger than we may make one
            # A whole report fits in, so that its writer and we do not take turns.
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(wake.fileno(), select.POLLIN)
        self.last_report: float | None = None
        self.period = 0.0
        self.garbage_since_report = False

    def pump(self, timeout: float) -> Pumped:
        """Wait at most `timeout` seconds for bytes and hand on the lines that they complete.

        Whoever has roused is not heard here.
        """
        ready = dict(self._poll.poll(timeout * 1000))
        if self._fd not in ready:
            return Pumped.SILENCE
        try:
            count = os.readv(self._fd, [self._framer.room()])
        except BlockingIOError:  # somebody else reads there too, and was faster
            return Pumped.SILENCE
        except OSError:
            count = 0
        if not count:
            return Pumped.END
        # A report is stamped when its last byte is read, which is now.
        at = Moment(time.time(), time.monotonic())
        for line in self._framer.advance(count):
            self._give(line, at)
        if self._framer.skipping:
            self.garbage_since_report = True
        return Pumped.DATA

    def finish(self) -> None:
        """Hand on a last line that has no end."""
        rest = self._framer.rest()
        if rest is not None:
            self._give(rest, Moment(time.time(), time.monotonic()))

    def _skip(self, length: int) -> None:
        self.garbage_since_report = True
        self._listener.skipped(length)

    def _give(self, line: memoryview, at: Moment) -> None:
        period = self._listener.line(line, at)
        if period is None:
            self.garbage_since_report = True
        else:
            self.last_report, self.period = at.monotonic, period
            self.garbage_since_report = False
