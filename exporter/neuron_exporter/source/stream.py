"""The interfaces of a source, and the reader that splits a file descriptor into lines."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Protocol

from neuron_exporter.model import SourceState, Timestamp

_INITIAL_BUFFER = 64 * 1024
_MAX_KEPT_BUFFER = 1024 * 1024
_MIN_FREE = 16 * 1024
_PIPE_SIZE = 1024 * 1024
_WAKEUP_PIPE_CAPACITY = 64 * 1024


class SourceError(Exception):
    """The source cannot deliver reports, and a retry would not help."""


class SourceListener(Protocol):
    """Callbacks of a source, called from the thread that runs it."""

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Handle a line. Return the seconds to the next report; None if it is not a report.

        The memory of the line is reused after the call.
        """

    def on_skipped(self, length: int) -> None:
        """Handle a line of `length` bytes that was dropped because it was too long."""

    def on_state(self, state: SourceState, detail: str) -> None:
        """Handle a change of the source's state."""

    def on_restart(self, reason: str, delay: float) -> None:
        """Handle a restart of the source, due in `delay` seconds."""

    def on_stderr(self, line: str) -> None:
        """Handle a line of the source's standard error."""

    def on_tick(self) -> None:
        """Note that the source's thread is alive. Called at least every ten seconds."""


class Source(Protocol):
    """A stream of report lines that ends by itself or is stopped."""

    def run(self, listener: SourceListener) -> None:
        """Pass all lines to the listener. Return at the end of input or after `stop`."""

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe and idempotent."""

    def pause_or_resume(self) -> bool | None:
        """Pause or resume, and return whether the source is now paused. Thread-safe.

        Return None if this source cannot be paused.
        """


class Framer:
    """Splitter of bytes into lines, with one buffer that grows with the longest line.

    The bytes of a line longer than `max_line` are dropped as they arrive. At the end of the line,
    `on_skip` is called with their number.
    """

    def __init__(self, max_line: int, on_skip: Callable[[int], None]) -> None:
        self._max_line = max_line
        self._on_skip = on_skip
        self._buffer = memoryview(bytearray(_INITIAL_BUFFER))
        self._start = self._end = 0
        self._skipping = 0

    def free_space(self) -> memoryview:
        """Return the free memory for the next read. Lines returned before become invalid."""
        pending = self._end - self._start
        if not pending:
            self._start = self._end = 0
            if len(self._buffer) > _MAX_KEPT_BUFFER:
                self._buffer = memoryview(bytearray(_INITIAL_BUFFER))
        elif len(self._buffer) - self._end < _MIN_FREE:
            buffer = self._buffer
            if len(buffer) - pending < len(buffer) // 4:
                buffer = memoryview(bytearray(2 * len(buffer)))
            buffer[:pending] = bytes(self._buffer[self._start : self._end])
            self._buffer, self._start, self._end = buffer, 0, pending
        return self._buffer[self._end :]

    def advance(self, count: int) -> Iterator[memoryview]:
        """Yield the lines completed by `count` more bytes, without their newlines."""
        data: bytearray = self._buffer.obj  # type: ignore[assignment]
        scanned, self._end = self._end, self._end + count
        while (newline := data.find(b"\n", scanned, self._end)) >= 0:
            line = self._buffer[self._start : newline]
            self._start = scanned = newline + 1
            if self._skipping or len(line) > self._max_line:
                self._on_skip(self._skipping + len(line))
                self._skipping = 0
            elif len(line):
                yield line
        if self._skipping or self._end - self._start > self._max_line:
            self._skipping += self._end - self._start
            self._start = self._end

    def rest(self) -> memoryview | None:
        """Return the bytes after the last newline, at the end of input."""
        if self._skipping:
            self._on_skip(self._skipping)
            self._skipping = 0
            return None
        return self._buffer[self._start : self._end] if self._end > self._start else None

    @property
    def skipping(self) -> bool:
        """Whether the line that is being received is already too long."""
        return self._skipping > 0


class WakeupPipe:
    """Pipe with which other threads interrupt a wait, and which `poll` accepts."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop_requested = False

    def __del__(self) -> None:
        with suppress(AttributeError):  # there is no pipe: a signal, or no descriptor was free
            os.close(self._reading)
            os.close(self._writing)

    def fileno(self) -> int:
        """Return the descriptor, which is readable after `wake` or `request_stop`."""
        return self._reading

    def request_stop(self) -> None:
        """End this wait and all later ones."""
        self._stop_requested = True
        self.wake()

    def wake(self) -> None:
        """End the current wait, or the next one."""
        with suppress(BlockingIOError):  # a full pipe is readable already
            os.write(self._writing, b"!")

    def drain(self) -> None:
        """Forget past wake-ups, so that the next wait lasts, unless a stop was requested."""
        with suppress(BlockingIOError):
            os.read(self._reading, _WAKEUP_PIPE_CAPACITY)
        if self._stop_requested:
            self.wake()

    def stop_requested(self) -> bool:
        """Return whether a stop was requested."""
        return self._stop_requested

    def wait(self, seconds: float) -> bool:
        """Wait until the time is over or `wake` is called. Return whether a stop was requested."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        if poll.poll(max(0, seconds) * 1000):
            self.drain()
        return self._stop_requested


class ReadResult(Enum):
    """Result of one attempt to read."""

    DATA = "data"
    SILENCE = "silence"
    END = "end"


class Stream:
    """Reader of a file descriptor that passes its lines to a listener."""

    def __init__(
        self, fd: int, max_line: int, listener: SourceListener, wakeup: WakeupPipe
    ) -> None:
        self._fd = fd
        self._listener = listener
        self._framer = Framer(max_line, self._skip)
        with suppress(OSError):  # not a pipe, or above the limit for an unprivileged user
            # With room for a whole report, the writer never waits for the exporter within one.
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(wakeup.fileno(), select.POLLIN)
        self.last_report: float | None = None
        self.period = 0.0
        self.garbage_since_report = False

    def read_available(self, timeout: float) -> ReadResult:
        """Wait at most `timeout` seconds for bytes and pass on the lines that they complete.

        A wake-up ends the wait but is not drained.
        """
        ready = dict(self._poll.poll(timeout * 1000))
        if self._fd not in ready:
            return ReadResult.SILENCE
        try:
            count = os.readv(self._fd, [self._framer.free_space()])
        except BlockingIOError:  # another process reads the same pipe and was faster
            return ReadResult.SILENCE
        except OSError:
            count = 0
        if not count:
            return ReadResult.END
        # A report's time is when its last byte is read, which is now.
        at = Timestamp(time.time(), time.monotonic())
        for line in self._framer.advance(count):
            self._pass_on(line, at)
        if self._framer.skipping:
            self.garbage_since_report = True
        return ReadResult.DATA

    def finish(self) -> None:
        """Pass on a last line without a newline."""
        rest = self._framer.rest()
        if rest is not None:
            self._pass_on(rest, Timestamp(time.time(), time.monotonic()))

    def _skip(self, length: int) -> None:
        self.garbage_since_report = True
        self._listener.on_skipped(length)

    def _pass_on(self, line: memoryview, at: Timestamp) -> None:
        period = self._listener.on_line(line, at)
        if period is None:
            self.garbage_since_report = True
        else:
            self.last_report, self.period = at.monotonic, period
            self.garbage_since_report = False
