"""Durations ("5s", "1m30s") and sizes ("16MiB") as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)|\d+", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "5s", "500ms", "1m30s" or "14d".

    Raises:
        ValueError: the text is not a duration.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a duration such as "5s", "500ms", "1m30s" or "14d"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size(text: str) -> int:
    """Bytes in a size such as "16MiB" or "64kB"; a number alone is a number of bytes.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError('must be a size such as "16MiB", "256MiB" or "64kB"')
    return int(Decimal(match[1] or match[0]) * _BYTES[match[2] or "B"])


def format_duration(seconds: float) -> str:
    """The shortest writing of a duration that `parse_duration` reads back."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    number, unit = (seconds * 1000, "ms") if 0 < seconds < 1 else (seconds, "s")
    return f"{number:.6f}".rstrip("0").rstrip(".") + unit
