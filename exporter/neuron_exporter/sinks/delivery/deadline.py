"""Calls with a deadline.

botocore and urllib3 limit each read but not their sum, and they do not limit a DNS lookup. An
endpoint that sends one byte per second, or a resolver that hangs, would block the caller for ever.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5
"""Seconds for a connection, and for each read."""

MAX_STUCK = 4
"""Calls that may be stuck in the system while another is started. Each occupies a thread."""

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The call did not end before its deadline."""


class TooManyStuckCalls(Exception):
    """The call was not started because too many earlier ones are stuck."""


class Abort(SystemExit):
    """Raised in a thread that exceeds its deadline. No library catches it, no hook prints it."""


@contextmanager
def silent_aborts() -> Iterator[None]:
    """Print no abort that is raised in a destructor: Python would print it, and go on."""

    def write(args: sys.UnraisableHookArgs) -> None:
        if not isinstance(args.exc_value, Abort):
            before(args)

    before, sys.unraisablehook = sys.unraisablehook, write
    try:
        yield
    finally:
        sys.unraisablehook = before


class Attempts(Generic[T]):
    """Runner of calls, one at a time, each in a thread of its own."""

    def __init__(self, thread_name: str = "attempt") -> None:
        self._thread_name = thread_name
        self._stuck: list[_Attempt[T]] = []

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """Return the call's result, or raise its exception.

        Raises:
            DeadlineExceeded: after `seconds`. A later result of the call is ignored.
            TooManyStuckCalls: at once; the call was not started.
        """
        # Python ignores an abort that comes in a destructor, so each is aborted again.
        self._stuck = [each for each in self._stuck if each.is_alive() and each.abort()]
        if len(self._stuck) >= MAX_STUCK:
            raise TooManyStuckCalls(
                f"{len(self._stuck)} earlier attempts are stuck, probably in a DNS lookup"
            )
        attempt = _Attempt(call, self._thread_name)
        attempt.start()
        attempt.join(seconds)
        if attempt.abort():
            self._stuck.append(attempt)
            raise DeadlineExceeded(f"no result after {seconds:g} s")
        error, attempt.error = attempt.error, None
        if error is None:
            return attempt.results[0]
        try:
            raise error
        finally:
            del error, attempt  # the error's traceback references this frame: avoid a cycle


class _Attempt(threading.Thread, Generic[T]):
    """A call in its thread. Once it has ended, it has either one result or an error."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._lock = threading.Lock()
        self._finished = False
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call."""
        with suppress(Abort):  # which may come as late as in _finish
            try:
                result = self._call()
            except Abort:
                raise
            except BaseException as error:  # noqa: BLE001 (raised again in the waiting thread)
                self._finish(error=error)
            else:
                self._finish(result)
        with suppress(Abort), self._lock:
            self._finished = True  # so that an aborted call is not aborted again

    def _finish(self, *results: T, error: BaseException | None = None) -> None:
        with self._lock:
            self._finished = True
            self.results, self.error = list(results), error

    def abort(self) -> bool:
        """Abort the call if it is unfinished; return whether it was.

        The thread ends as soon as it runs Python code again. A wait for a socket ends by its own
        timeout. Only a call that is stuck in the system, such as a DNS lookup, goes on.
        """
        with self._lock:
            if not self._finished and self.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.ident), ctypes.py_object(Abort)
                )
            return not self._finished
