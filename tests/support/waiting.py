"""Waiting for conditions, never for time alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 60.0, every: float = 0.02) -> T:
    """Return the first true value of `condition`; fail if there is none within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"no true value of {condition} in {seconds} s: last was {value!r}")
        time.sleep(every)
