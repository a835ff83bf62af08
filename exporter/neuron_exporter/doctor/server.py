"""The HTTP server of a running exporter, as the doctor reads it."""

from __future__ import annotations

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple

NO_ANSWER = (OSError, ValueError, HTTPException)
"""Errors of a request without an answer."""

_TIMEOUT = 3.0
_MAX_BODY = 32 * 2**20


class Server(NamedTuple):
    """The HTTP server of an exporter."""

    address: str
    tls: bool

    def get(self, path: str, timeout: float = _TIMEOUT) -> tuple[int, bytes]:
        """Return the status and body. The certificate is not verified, because the request
        contains no secrets.

        Raises:
            OSError, ValueError, HTTPException: there is no answer, or it is too long.
        """
        connection = HTTPConnection(self.address, timeout=timeout)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = HTTPSConnection(self.address, timeout=timeout, context=context)
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                body = response.read(_MAX_BODY + 1)
        finally:
            connection.close()
        if len(body) > _MAX_BODY:
            raise ValueError(f"its answer is longer than {_MAX_BODY} bytes")
        return response.status, body

    def body(self, path: str, timeout: float = _TIMEOUT, status: int = 200) -> bytes:
        """Return the body of an answer with this status; empty without one."""
        try:
            answered, body = self.get(path, timeout)
        except NO_ANSWER:
            return b""
        return body if answered == status else b""
