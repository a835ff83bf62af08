"""Selection of some values of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def picker(indices: Sequence[int]) -> Picker:
    """Return a function that picks the values at these indices, always as a tuple."""
    if len(indices) > 1:
        return itemgetter(*indices)
    return itemgetter(slice(indices[0], indices[0] + 1) if indices else slice(0))
