"""Values of a configuration as people are shown them."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

_LONGEST = 160
_SHORT = Repr()  # an alias of an alias may stand for more than fits in memory
_SHORT.maxstring = _SHORT.maxother = _LONGEST


def shown(value: Any) -> str:
    """A value for people, cut off where it is long."""
    if value is None:
        return "null"
    try:
        text = repr(value) if isinstance(value, str) else _SHORT.repr(value)
    except ValueError:
        text = "a number with thousands of digits"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
