"""Waiting on conditions, never on time alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 15.0, every: float = 0.02) -> T:
    """The first true value of `condition`; fails when there is none within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s in vain for {condition}: last was {value!r}")
        time.sleep(every)
