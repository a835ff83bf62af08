"""Durations ("5s", "1m30s") and sizes ("16MiB") as people write them."""

from __future__ import annotations

import re

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
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)")


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "5s", "500ms", "1m30s" or "14d".

    Raises:
        ValueError: the text is not a duration.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a duration such as "5s", "500ms", "1m30s" or "14d"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size(text: str) -> int:
    """Bytes in a size such as "16MiB" or "64kB".

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError('must be a size such as "16MiB", "256MiB" or "64kB"')
    return int(float(match[1]) * _BYTES[match[2]])


def format_duration(seconds: float) -> str:
    """The shortest writing of a duration that `parse_duration` reads back."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def format_size(count: float) -> str:
    """A number of bytes for people, in binary units."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= _BYTES[unit]:
            return f"{count / _BYTES[unit]:.3g}{unit}"
    return f"{count:g}B"
