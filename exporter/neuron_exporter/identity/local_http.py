"""One HTTP request to an address beside us, within one second from first byte to last."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

SECONDS = 1.0
"""All of a request. Who answers is on this machine, or is not going to."""

LONGEST = 1 << 20
"""Bytes of an answer; the description of a large ECS task has some ten thousand."""


class NoAnswer(Exception):
    """Nobody answered, or not what was asked for; the text says what happened instead."""


class NotThere(NoAnswer):
    """There is an answer, and it is that there is no such thing."""


def ask(
    base: str, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> bytes:
    """The body of a good answer. No proxy is used, and no redirection followed.

    Raises:
        NoAnswer: there is none.
    """
    until = time.monotonic() + SECONDS
    try:
        parts = urlsplit(base)
        if parts.scheme != "http" or not parts.hostname:
            raise NoAnswer(f"{base!r} is no http:// address")
        connection = HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    except (ValueError, HTTPException):
        raise NoAnswer(f"{base!r} is no http:// address") from None
    try:
        connection.connect()
        connection.response_class = _within(until)
        connection.request(method, parts.path.rstrip("/") + path, headers=dict(headers or {}))
        with connection.getresponse() as response:
            body = response.read(LONGEST + 1)
    except TimeoutError:
        raise NoAnswer(f"no answer within {SECONDS:g} s") from None
    except (OSError, ValueError, HTTPException) as error:
        raise NoAnswer(getattr(error, "strerror", None) or repr(error)) from None
    finally:
        connection.close()
    if response.status == 404:
        raise NotThere("the answer was 404")
    if response.status != 200:
        raise NoAnswer(f"the answer was {response.status}")
    if len(body) > LONGEST:
        raise NoAnswer("the answer does not end")
    return body


def as_object(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        NoAnswer: it is something else.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise NoAnswer("the answer is not a JSON object")
    return document


def _within(until: float) -> type[HTTPResponse]:
    """A response that is read before that moment: a socket's own timeout begins anew with every
    byte."""

    class Response(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
            super().__init__(sock, *args, **named)
            self.fp = io.BufferedReader(_Reader(self.fp, sock, until))

    return Response


class _Reader(io.RawIOBase):
    def __init__(self, file: io.BufferedIOBase, sock: socket.socket, until: float) -> None:
        self._file = file  # keeps the socket open when the connection lets go of it
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
