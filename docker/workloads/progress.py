"""Progress bar for terminals. If standard error is no terminal, nothing is printed."""

from __future__ import annotations

import sys
import threading

_WIDTH = 30


class Progress:
    """Progress bar, safe to update from several threads."""

    def __init__(self, label: str, total: int, *, clear: bool = False) -> None:
        self._label, self._total, self._done = label, total, 0
        self._clear = clear
        self._lock = threading.Lock()
        self._visible = sys.stderr.isatty()

    def __call__(self, amount: int) -> None:
        """Advance the bar by `amount`."""
        with self._lock:
            self._done += amount
            if self._visible:
                share = min(1.0, self._done / self._total) if self._total else 1.0
                bar = "#" * int(_WIDTH * share)
                sys.stderr.write(f"\r{self._label} [{bar:{_WIDTH}}] {share:4.0%}")
                sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._visible:
            sys.stderr.write("\r\033[K" if self._clear else "\n")
