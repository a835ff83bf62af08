"""Text helpers: durations, sizes and numbers, and untrusted or secret text made safe to show."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
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

MAX_MESSAGE_LENGTH = 1000
"""Maximum length of a message that contains text from outside, in characters."""

_USER_INFO = re.compile(r"(?<=://)[^/\s]+@")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

MASK = "***"
"""Replacement of a text that may be secret."""

# Every repetition is bounded: a long text must not cost more than its length.
_NAME = (
    r"(?:token|secret|passw|passphrase|credential|(?:api|access)[_-]?key"
    r"|(?:auth(?:orization)?|sig(?:nature)?|(?<![a-z])(?:pass|pwd))(?![a-z]))"
)
_WORD = rf"[\w-]{{0,32}}?{_NAME}[\w-]{{0,32}}"
_QUOTE = r"(?:\\{0,2}[\"'])?"  # in JSON with a backslash
_VALUE = (
    r"(?:(?<=\")[^\"\n\\]+|(?<=')[^'\"\n\\]+"  # in quotes: up to the next one
    r"|[^\s\"',&}\\]+(?:,[^\s\"',&}\\]+){0,64})"
)
_KEY_ID = r"A[BCGIKNPRS][A-Z]A[A-Z0-9]{12}"

_SECRETS = re.compile(
    "(?i:"
    # A header: everything up to the end of the line, or of the quotes.
    r"(?P<header>(?:authorization|cookie|-token|-api-key)"
    rf"{_QUOTE}\s{{0,8}}[:=]\s{{0,8}}{_QUOTE})[^\"'\n\\]+"
    r"|(?P<bearer>\bbearer\s{1,8})[\w.~+/=-]{8,}"
    rf"|(?P<parameter>[?&][\w.%-]{{1,64}}=){_VALUE}"
    rf"|(?P<option>(?<![\w-])-{_WORD}{_QUOTE}(?:\s{{0,8}}[,=]\s{{0,8}}|\s{{1,8}}){_QUOTE}){_VALUE}"
    rf"|(?P<name>(?<![\w-]){_WORD}(?:{_QUOTE}\s{{0,8}}=|\\{{0,2}}[\"']\s{{0,8}}:)\s{{0,8}}{_QUOTE})"
    rf"{_VALUE}"
    rf"|(?P<password>passw\w{{0,32}}\s{{0,8}}:\s{{0,8}}{_QUOTE}){_VALUE}"
    # "no token: no answer" is harmless: only what looks like a key.
    rf"|(?P<key>(?<![\w-]){_WORD}\s{{0,8}}:\s{{0,8}}{_QUOTE})"
    r"(?=[a-z_~+=-]{0,63}[0-9])(?=[0-9_~+=-]{0,63}[a-z])[\w~+=-]{8,}[\w.~+/=-]{0,4096}"
    ")"
    # Key ids and secret keys of AWS, and JSON web tokens.
    rf"|\b{_KEY_ID}[A-Z0-9]{{0,112}}\b"
    r"|(?<![\w+/])(?=[A-Z0-9+/]{0,39}[a-z])(?=[a-z0-9+/]{0,39}[A-Z])(?=[A-Za-z+/]{0,39}[0-9])"
    r"[A-Za-z0-9+/]{40}(?![\w+/=])"
    r"|\beyJ[\w-]{8,}\.[\w.-]+"
)

_PLAIN = re.compile(r"[\w .,:/+*%{}()\[\]^!-]*")
_SUSPICIOUS = re.compile(
    rf"(?i:{_NAME})|{_KEY_ID}|(?:^|\s)-[\w-]"
    r"|(?=[A-Za-z]{0,20}[0-9])(?=[0-9]{0,20}[A-Za-z])[A-Za-z0-9]{21}"
)


# Durations, sizes and numbers


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


def parse_whole(text: str, low: int, high: int) -> int:
    """Return the whole number in a text.

    Raises:
        ValueError: it is not a number within these bounds.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not low <= number <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return number


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of a command line's whole numbers within these bounds."""

    def parse(text: str) -> int:
        try:
            return parse_whole(text, low, high)
        except ValueError as error:
            raise ArgumentTypeError(f"{error} (got {text!r})") from None

    return parse


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


# Secrets


def safe_message(text: str) -> str:
    """Return a message that contains text from outside on one printable line of limited length,
    without what looks like a secret."""
    return sanitize_text(mask_secrets(text[: 4 * MAX_MESSAGE_LENGTH]), MAX_MESSAGE_LENGTH)


def mask_secrets(text: str) -> str:
    """Replace what looks like a secret in a text by `***`.

    These are user names and passwords of URLs, parameters of URLs, headers with credentials, values
    of options and other names that name a secret, and keys of AWS.
    """
    return _SECRETS.sub(_masked, mask_credentials(text))


def _masked(match: re.Match[str]) -> str:
    return (match[match.lastgroup] if match.lastgroup else "") + MASK


def shown_value(value: Any, max_length: int = 160) -> str:
    """Return a value of a configuration as an error message shows it: it may be secret by mistake.

    Only numbers and plain texts are shown: texts without the marks of an address with a password,
    an assignment, an option or a key. Of other values, the message names the type.
    """
    match value:
        case str():
            shown = value[:max_length]
            if not _PLAIN.fullmatch(shown) or _SUSPICIOUS.search(shown):
                return f"a text of {len(value)} characters"
        case list() | tuple() if value:
            return "a list"
        case dict() if value:
            return "a mapping"
    return truncated_repr(value, max_length)


_MIN_KEY = 12
"""Length from which a part of a path with digits may be a key."""


def shown_url(url: str) -> str:
    """Return a URL for display. Parts of its path that may be secret are masked."""
    origin, separator, path = url.partition("://")
    host, *segments = path.split("/")
    return f"{origin}{separator}{'/'.join((host, *map(_shown_segment, segments)))}"


def _shown_segment(segment: str) -> str:
    is_name = len(segment) < _MIN_KEY or not any(map(str.isdigit, segment))
    return segment if is_name else MASK
