"""Strict reading of request lines and headers.

What two programs may read in two ways is refused. Otherwise, a request could hide in the body of
another one that a proxy forwards.
"""

from __future__ import annotations

import re
from email.message import Message
from http.client import HTTPMessage, LineTooLong
from io import BufferedIOBase

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [!-~]+ HTTP/[0-9]\.[0-9]\r\n")
_HEADER = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*\r\n")
_END = b"\r\n"
_SINGLE = ("Host", "Content-Length", "Transfer-Encoding", "Authorization")


class MalformedRequest(Exception):
    """A request line or header that is not exactly as HTTP/1.1 defines it."""


class Headers(HTTPMessage):
    """Headers whose Content-Type is not parsed: a request has no body, and the standard library's
    parser takes time that grows with the square of its length."""

    def get_content_type(self) -> str:
        """Return the type of a message without parts."""
        return "text/plain"


class StrictReader:
    """The header lines of a file, up to `limit` bytes in all.

    The standard library limits each header only: a hundred of 64 KiB are 6.4 MiB a connection.
    """

    def __init__(self, file: BufferedIOBase, limit: int) -> None:
        self._file = file
        self._remaining = limit

    def readline(self, limit: int) -> bytes:
        """Return the next line.

        Raises:
            LineTooLong: all headers together exceed the limit.
            MalformedRequest: the line is no header.
        """
        line = self._file.readline(min(limit, self._remaining + 1))
        self._remaining -= len(line)
        if self._remaining < 0:
            raise LineTooLong("all headers")
        if line != _END and not _HEADER.fullmatch(line):
            raise MalformedRequest("a header line is malformed")
        return line


def check_request_line(line: bytes) -> None:
    """Raise MalformedRequest for anything but METHOD TARGET VERSION."""
    if not _REQUEST_LINE.fullmatch(line):
        raise MalformedRequest("the request line is malformed")


def check_headers(version: str, headers: Message) -> None:
    """Raise MalformedRequest if a header is missing, or repeated that must not be."""
    for name in _SINGLE:
        if len(headers.get_all(name, ())) > 1:
            raise MalformedRequest(f"the header {name} is repeated")
    if version > "HTTP/1.0" and "Host" not in headers:
        raise MalformedRequest("the header Host is missing")


def has_body(headers: Message) -> bool:
    """Return whether a request has a body, or may have one."""
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"
