"""Values of additional headers: from the configuration, or from files that may be replaced."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping

from neuron_exporter.sinks.otlp.settings import HeaderFile, HeaderValue
from neuron_exporter.text import MASK

MAX_LENGTH = 16 * 1024
"""Maximum length of a value. Servers accept 8 KiB, mostly."""

_MIN_SECRET = 3
_MIN_SECRET_WORD = 6
"""Lengths of the shortest value, and of the shortest word of one, that are masked in messages."""

_VALUE = re.compile(r"[\t\x20-\x7e]+")


class HeaderError(Exception):
    """A header has no usable value. The message names the header and its file, never the value."""


def read_headers(headers: Mapping[str, HeaderValue]) -> dict[str, str]:
    """Return the values of all headers.

    Raises:
        HeaderError: a file cannot be read, or a value is illegal.
    """
    return {name: _value(name, value) for name, value in headers.items()}


def mask_values(text: str, values: Collection[str]) -> str:
    """Replace the values of headers and their words in a text, which must not be shortened yet: a
    server may repeat what it received."""
    for value in values:
        words = [word for word in value.split() if len(word) >= _MIN_SECRET_WORD]
        for secret in (value, *words) if len(value) >= _MIN_SECRET else words:
            text = text.replace(secret, MASK)
    return text


def _value(name: str, value: HeaderValue) -> str:
    if not isinstance(value, HeaderFile):
        place, text = f"header {name}", value
    else:
        place = f"header {name}: file {value.path}"
        try:
            content = _read(value.path)
        except OSError as error:
            raise HeaderError(f"{place}: {error.strerror or error}") from None
        if len(content) > MAX_LENGTH:
            raise HeaderError(f"{place}: is longer than {MAX_LENGTH} bytes")
        text = content.decode("latin-1").strip()
    if not _VALUE.fullmatch(text):
        problem = "must be one line of printable ASCII characters" if text else "is empty"
        raise HeaderError(f"{place}: {problem}")
    return text


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("is not a regular file")
        return os.read(descriptor, MAX_LENGTH + 1)
    finally:
        os.close(descriptor)
