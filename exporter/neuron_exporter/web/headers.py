"""How much a request's headers may be, and what they say."""

from __future__ import annotations

from http.client import LineTooLong
from io import BufferedIOBase


class Rationed:
    """The lines of a file, until together they are longer than `most` bytes.

    The standard library's limits are for each header: a hundred of 64 KiB, 6.4 MiB a connection.
    """

    def __init__(self, file: BufferedIOBase, most: int) -> None:
        self._file = file
        self._left = most

    def readline(self, limit: int) -> bytes:
        """The next line.

        Raises:
            LineTooLong: the headers are too long.
        """
        line = self._file.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("all headers")
        return line


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip; its name says more than an asterisk."""
    allowed = {}
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        refused = quality.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        allowed[coding.strip()] = not refused
    return allowed.get("gzip", allowed.get("*", False))
