"""A bar on a terminal; without one nothing is printed, for logs keep every step of it."""

from __future__ import annotations

import sys
import threading

_WIDTH = 30


class Progress:
    """A bar that fills up. It may be called from several threads."""

    def __init__(self, what: str, total: int, *, clear: bool = False) -> None:
        self._what, self._total, self._done = what, total, 0
        self._clear = clear
        self._lock = threading.Lock()
        self._shown = sys.stderr.isatty()

    def __call__(self, amount: int) -> None:
        """So much more is done."""
        with self._lock:
            self._done += amount
            if self._shown:
                share = min(1.0, self._done / self._total) if self._total else 1.0
                bar = "#" * int(_WIDTH * share)
                sys.stderr.write(f"\r{self._what} [{bar:{_WIDTH}}] {share:4.0%}")
                sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K" if self._clear else "\n")
