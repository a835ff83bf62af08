"""Signals, from the first line of the program to its last.

This module is imported before all others, so it imports little itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

_STOPS = (signal.SIGTERM, signal.SIGINT)
_REQUESTS = (signal.SIGHUP, signal.SIGUSR1)


def handle_during_start() -> None:
    """Let stop signals end the process with status 0, and keep requests pending, until `Signals`.

    Without a handler, the kernel discards the stop signals of process 1, and requests end any other
    process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)
    for number in _STOPS:
        signal.signal(number, _exit)


def end_on_sigterm_as_process_1() -> None:
    """Let SIGTERM end process 1 like any other. Without a handler, the kernel discards it."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _exit(*_: object) -> None:
    os._exit(0)  # nothing runs yet, and an exception could be caught by a module's import


class Signals:
    """Context manager that passes the numbers of signals to a queue."""

    def __init__(self, put: Callable[[int], None]) -> None:
        self._put = put
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        # The handlers do nothing else: the interrupted main thread may hold a lock they would need.
        try:
            for number in (*_STOPS, *_REQUESTS):
                self._before[number] = signal.signal(number, lambda n, _: self._put(n))
        except ValueError:  # only the main thread can set handlers
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A late signal must neither end the process, as the default action would, nor replace
            # its exit status. Blocking would protect this thread only, and others still run.
            ignore = handler is _exit or (number in _REQUESTS and handler == signal.SIG_DFL)
            signal.signal(number, signal.SIG_IGN if ignore else handler)  # type: ignore[arg-type]
