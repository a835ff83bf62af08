"""Pass signals to a queue, and block SIGUSR1 until they are handled."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

_REQUESTS = (signal.SIGHUP, signal.SIGUSR1)

HANDLED = (signal.SIGTERM, signal.SIGINT, *_REQUESTS)


def block_sigusr1() -> None:
    """Keep SIGUSR1 pending until it is handled; its default action would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


class Signals:
    """Context manager that passes the numbers of signals to a queue."""

    def __init__(self, put: Callable[[int], None]) -> None:
        self._put = put
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        # The handlers do nothing else: the interrupted main thread may hold a lock they would need.
        with suppress(ValueError):  # only the main thread can set handlers
            for number in HANDLED:
                self._before[number] = signal.signal(number, lambda n, _: self._put(n))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A late request must not end the process, as the default action would. Blocking the
            # signals would protect this thread only, and others still run.
            ignore = number in _REQUESTS and handler == signal.SIG_DFL
            signal.signal(number, signal.SIG_IGN if ignore else handler)  # type: ignore[arg-type]
