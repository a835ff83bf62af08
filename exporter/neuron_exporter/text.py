"""Text helpers: durations and sizes, truncated values, and untrusted text made safe to show."""

from __future__ import annotations

import re
from decimal import Decimal
from reprlib import Repr
from typing import Any

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)|\d+", re.ASCII)

MAX_LENGTH = 255
"""Maximum length of a label value, in characters. CloudWatch allows 1,024 in a dimension value."""

_USER_INFO = re.compile(r"(?<=://)[^/\s]+@")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


# Durations and sizes


def parse_duration(text: str) -> float:
    """Return the seconds in a duration such as "5s", "500ms", "1m30s" or "14d".

    Raises:
        ValueError: the text is not a duration.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a duration such as "5s", "500ms", "1m30s" or "14d"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_size(text: str) -> int:
    """Return the bytes in a size such as "16MiB" or "64kB". A number without a unit is in bytes.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError('must be a size such as "16MiB", "256MiB" or "64kB"')
    return int(Decimal(match[1] or match[0]) * _BYTES[match[2] or "B"])


def format_duration(seconds: float) -> str:
    """Return the shortest text from which `parse_duration` reads this duration."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    number, unit = (seconds * 1000, "ms") if 0 < seconds < 1 else (seconds, "s")
    return f"{number:.6f}".rstrip("0").rstrip(".") + unit


# Values and untrusted text


def truncated_repr(value: Any, max_length: int = 160) -> str:
    """Return a value as an error message shows it, shortened to `max_length` characters.

    The work is bounded as well: aliases of aliases in YAML can stand for more than fits in memory.
    """
    if value is None:
        return "null"
    short = Repr()
    short.maxstring = short.maxother = max_length
    try:
        text = repr(value[:max_length]) if isinstance(value, str) else short.repr(value)
    except ValueError:
        text = "a number with thousands of digits"
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def sanitize_text(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return the text on one printable line, so that it is safe in a label, a log or a terminal.

    Control characters, line separators and bidirectional marks are replaced.
    """
    if len(text) > max_length:
        text = text[: max_length - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _REPLACEMENT for char in text)


def mask_credentials(text: str) -> str:
    """Replace user names and passwords in the URLs of a text by `***`."""
    return _USER_INFO.sub("***@", text)
