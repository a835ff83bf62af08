"""One deadline for a whole call, however many waits it is made of.

botocore bounds each read, not their sum, and nothing bounds the look-up of a name: an endpoint that
answers a byte a second, or a resolver that hangs, would hold the caller for ever.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

MOST_LEFT = 4
"""Calls that may hang in the system while another is tried; each holds a thread and no more."""

T = TypeVar("T")


class Overdue(Exception):
    """The call took too long."""


class TooManyHang(Exception):
    """The call was not made, since too many before it still hang."""


class _BreakOff(SystemExit):
    """Raised in a thread that took too long. No library catches it, and no hook prints it."""


class Attempts(Generic[T]):
    """Makes calls, one after the other, each in a thread of its own and for a limited time."""

    def __init__(self) -> None:
        self._left: list[_Attempt[T]] = []

    def make(self, call: Callable[[], T], seconds: float) -> T:
        """What the call gives, or raises.

        Raises:
            Overdue: after `seconds`. Whatever else may come of the call is not looked at.
            TooManyHang: at once, and without the call having begun.
        """
        self._left = [each for each in self._left if each.is_alive()]
        if len(self._left) >= MOST_LEFT:
            raise TooManyHang(
                f"{len(self._left)} attempts before hang, maybe in looking up its name"
            )
        attempt = _Attempt(call)
        attempt.start()
        attempt.join(seconds)
        if attempt.break_off():
            self._left.append(attempt)
            raise Overdue(f"not over after {seconds:g} s")
        try:
            return attempt.outcome()
        finally:
            del attempt  # an error holds this frame, and so must not be held by it


class _Attempt(threading.Thread, Generic[T]):
    """A call under way."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__(name="cloudwatch-attempt", daemon=True)
        self._call = call
        self._lock = threading.Lock()
        self._over = False
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call."""
        try:
            result = self._call()
        except _BreakOff:
            return
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            self._end(error=error)
        else:
            self._end(result)

    def _end(self, *results: T, error: BaseException | None = None) -> None:
        with self._lock:
            self._over = True
            self.results, self.error = list(results), error

    def outcome(self) -> T:
        """What the call gave, or raises what it raised."""
        error, self.error = self.error, None
        if error is None:
            return self.results[0]
        try:
            raise error
        finally:
            del error

    def break_off(self) -> bool:
        """Make a call that is under way raise, once the system lets it; gives whether it was.

        Sockets are its own and cannot be closed from here, but every wait of a socket is bounded:
        it raises after that. Only what hangs in the system itself goes on.
        """
        with self._lock:
            if not self._over and self.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.ident), ctypes.py_object(_BreakOff)
                )
            return not self._over
