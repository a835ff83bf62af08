"""Signals become numbers in a queue, and SIGUSR1 waits until somebody can take it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


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
        if self._before:
            hold_back()  # one that comes while the process ends is late, not deadly
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
