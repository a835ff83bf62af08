"""Standard streams, and output that never blocks its writers.

A write to a pipe that is full and not read lasts for ever. O_NONBLOCK is no remedy: it holds for
every process that shares the pipe, such as the shell or the supervisor that started this one.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

MAX_LINES = 1000
"""Lines that wait for a slow reader; further ones are dropped."""

EXIT_SECONDS = 1.0
"""Time that the end of the program waits for a slow reader."""


class QueuedOutput(io.RawIOBase):
    """File descriptor that is written by a thread of its own, a line per call of `write`.

    A line is dropped if too many wait, or if it cannot be written.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._unstarted = threading.Lock()
        self._finished = False
        # Reentrant, because the garbage collector may call a destructor that prints a warning.
        self._lock = threading.RLock()
        self._dropped = 0
        self.error: OSError | None = None
        """The last error of a write."""
        self.on_drop: Callable[[], None] = lambda: None
        self.on_recovery: Callable[[int], None] = lambda _: None
        """Called with the number of lines that were dropped, once lines are written again."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether the output is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Pass a line to the thread, or drop it. Neither blocks nor fails."""
        line = bytes(data)
        if self._finished or not self._start():  # destructors print after threads have ended
            if self._is_ready(0):
                self._write(line[: select.PIPE_BUF])
        elif self._queue.qsize() >= MAX_LINES:
            self._drop()
        else:
            self._queue.put(line)
        return len(line)

    def finish(self) -> None:
        """Wait until all lines are written, for a limited time. Call it before the program ends."""
        if self._unstarted.locked():
            written = threading.Event()
            self._queue.put(written)
            written.wait(EXIT_SECONDS)
        self._finished = True

    def _start(self) -> bool:
        """Start the thread unless it runs. Return whether it runs."""
        if self._unstarted.acquire(blocking=False):
            try:
                self._thread.start()
            except RuntimeError:  # the system allows no further thread
                self._unstarted.release()
                return False
        return True

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif not self._write(item):
                self._drop()
            elif self._dropped and self._queue.empty():
                with self._lock:
                    dropped, self._dropped = self._dropped, 0
                self.on_recovery(dropped)

    def _write(self, line: bytes) -> bool:
        """Write a line, and return whether that succeeded."""
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:  # another process has set O_NONBLOCK
                self._is_ready(None)
            except OSError as error:
                self.error = error
                return False
        return True

    def _is_ready(self, timeout: float | None) -> bool:
        """Wait until the output takes data. Return whether it does."""
        return bool(select.select((), (self._fd,), (), timeout)[1])

    def _drop(self) -> None:
        with self._lock:
            self._dropped += 1
        self.on_drop()


def prepare_standard_streams() -> None:
    """Open closed standard streams, so that no other file gets their numbers. Ignore errors of
    encoding. Replace standard error, so that neither its errors nor a reader that is stuck affect
    behaviour or exit status."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be invalid Unicode
    errors = QueuedOutput(2)
    atexit.register(errors.finish)  # after the traceback of an uncaught exception
    # Unbuffered: at exit, Python aborts if another thread has the lock of a buffer.
    sys.stderr = io.TextIOWrapper(errors, errors="backslashreplace", line_buffering=True)
    sys.__stderr__ = sys.stderr  # type: ignore[misc]  # Python returns to it at its exit


def discard_standard_output() -> None:
    """Discard what is still in the buffer of standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
