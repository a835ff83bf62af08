"""Signals become numbers in a queue, and SIGUSR1 waits until somebody can take it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

_REQUESTS = (signal.SIGHUP, signal.SIGUSR1)

HANDLED = (signal.SIGTERM, signal.SIGINT, *_REQUESTS)


def hold_back() -> None:
    """Keep SIGUSR1, which would end a process that does not handle it yet, until it does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


class Signals:
    """Puts the numbers of signals into a queue, and nothing else, while it is entered."""

    def __init__(self, put: Callable[[int], None]) -> None:
        self._put = put
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        # A handler that did more could meet a lock that the interrupted main thread holds.
        with suppress(ValueError):  # not the main thread: somebody else has the signals
            for number in HANDLED:
                self._before[number] = signal.signal(number, lambda n, _: self._put(n))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # One that asks for something while the process ends is late, not deadly. A mask would
            # be this thread's alone, and others still run.
            late = number in _REQUESTS and handler == signal.SIG_DFL
            signal.signal(number, signal.SIG_IGN if late else handler)  # type: ignore[arg-type]
