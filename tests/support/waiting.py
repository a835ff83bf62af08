"""Waiting for conditions, never for time alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 60.0, every: float = 0.02) -> T:
    """Return the first true value of `condition`; fail if there is none within `seconds`.

    It is evaluated every `every` seconds, and less often the longer it has been false, so that a
    wait leaves the processor to what it waits for.
    """
    started = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - started
        if waited > seconds:
            raise AssertionError(f"no true value of {condition} in {seconds} s: last was {value!r}")
        time.sleep(max(every, min(waited / 50, 0.25)))
