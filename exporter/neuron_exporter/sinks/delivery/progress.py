"""Progress of a thread that sends, as seen from other threads."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

MAX_SILENCE = 120.0
"""Seconds without progress after which a thread is stalled. An attempt to send takes 8 s."""

MAX_BUSY = 60.0
"""Seconds of CPU time without progress after which a thread is in an endless loop."""


class _Tick(NamedTuple):
    at: float
    busy: float
    clock: int


class Progress:
    """Progress of one thread, which calls `tick`. Before its first tick, nothing is expected."""

    def __init__(self) -> None:
        self._last: _Tick | None = None

    def tick(self) -> None:
        """Record progress."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._last = _Tick(time.monotonic(), time.thread_time(), clock)

    @property
    def silence(self) -> float:
        """Seconds since the last progress."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last.at

    @property
    def is_stalled(self) -> bool:
        """Whether the thread makes no progress: it loops, or a disk or an endpoint blocks it."""
        return self.silence > MAX_SILENCE

    @property
    def is_endless(self) -> bool:
        """Whether the thread is in an endless loop. One that waits uses no CPU time."""
        last = self._last
        try:
            return last is not None and time.clock_gettime(last.clock) - last.busy > MAX_BUSY
        except OSError:  # the thread has ended
            return False
