"""HTTP requests to link-local and loopback addresses, each with one deadline of a second."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from neuron_exporter.text import sanitize_text

TIMEOUT = 1.0
"""Seconds for a whole request. These servers run on this machine, or they do not exist."""

MAX_BODY_BYTES = 1 << 20
"""The metadata of a large ECS task has about 10,000."""


class RequestFailed(Exception):
    """A request without a usable response; the message is the reason."""


class NotFound(RequestFailed):
    """The server responded with 404."""


def request(
    base: str, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the body of a 200 response. Uses no proxy and follows no redirect.

    Raises:
        RequestFailed: any other outcome.
    """
    deadline = time.monotonic() + TIMEOUT
    try:
        parts = urlsplit(base)
        if parts.scheme != "http" or not parts.hostname:
            raise RequestFailed(f"{base!r} is not an http:// URL")
        connection = HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    except (ValueError, HTTPException):
        raise RequestFailed(f"{base!r} is not an http:// URL") from None
    try:
        connection.connect()
        connection.response_class = partial(_Response, deadline)  # type: ignore[assignment]
        connection.request(method, parts.path.rstrip("/") + path, headers=dict(headers or {}))
        with connection.getresponse() as response:
            body = response.read(MAX_BODY_BYTES + 1)
    except TimeoutError:
        raise RequestFailed(f"no answer within {TIMEOUT:g} s") from None
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or sanitize_text(repr(error))
        raise RequestFailed(reason) from None
    finally:
        connection.close()
    if response.status == 404:
        raise NotFound("HTTP status 404")
    if response.status != 200:
        raise RequestFailed(f"HTTP status {response.status}")
    if len(body) > MAX_BODY_BYTES:
        raise RequestFailed(f"the response is larger than {MAX_BODY_BYTES} bytes")
    return body


def request_object(
    base: str, path: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object in the body of a 200 response.

    Raises:
        RequestFailed: any other outcome.
    """
    try:
        document = json.loads(request(base, path, headers=headers))
    except (ValueError, RecursionError):
        raise RequestFailed("the response is not JSON") from None
    if not isinstance(document, dict):
        raise RequestFailed("the response is not a JSON object")
    return document


class _Response(HTTPResponse):
    """Response with a deadline, since a socket's timeout starts anew with every byte received."""

    def __init__(self, deadline: float, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp, sock, deadline))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, file: io.BufferedIOBase, sock: socket.socket, deadline: float) -> None:
        self._file = file  # keeps the socket open after the connection has closed its reference
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
