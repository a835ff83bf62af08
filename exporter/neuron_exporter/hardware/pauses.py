"""How long a folder is left out after an access to it hung."""

from __future__ import annotations

import math

FIRST_PAUSE = 60.0
"""Seconds for which a folder is left out once it answers again. Each further pause is twice as
long, up to MAX_PAUSE."""

MAX_PAUSE = 3600.0
"""Maximum seconds of a pause, and those without a hang after which pauses are short again."""


class Pauses:
    """The pauses of all folders. Used by one thread at a time."""

    def __init__(self, first: float = FIRST_PAUSE) -> None:
        self._first = first
        self._pauses: dict[str, tuple[float, float]] = {}  # end and length, by folder

    def begin(self, folder: str, now: float) -> None:
        """Begin a pause, since an access that hung has ended."""
        end, length = self._pauses.get(folder, (-math.inf, 0.0))
        length = min(2 * length, MAX_PAUSE) if now - end < MAX_PAUSE else self._first
        self._pauses[folder] = now + length, length

    def is_over(self, folder: str, now: float) -> bool:
        """Return whether the folder may be accessed."""
        return folder not in self._pauses or now >= self._pauses[folder][0]
