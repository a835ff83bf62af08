"""Low-level HTTP clients, for incomplete requests, aborted connections and parallel requests."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from typing import NamedTuple


class ClientResponse(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection to a server on this machine."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = f"[{host}]" if ":" in host else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(60)
        try:
            self.socket.connect((host, port))
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        except OSError:
            self.socket.close()
            raise
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def request(self, path: str, method: str = "GET", **headers: str) -> None:
        """Send a complete request. Underscores in header names become hyphens."""
        headers = {"Host": self._host, **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode())

    def read_response(self, *, body: bool = True) -> ClientResponse:
        """Read one response; that to HEAD has no body."""
        first = self._file.readline()
        if not first:
            raise ConnectionError("closed without a response")
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        length = int(headers["Content-Length"]) if body else 0
        return ClientResponse(int(first.split()[1]), headers, self._file.read(length))

    def get(self, path: str, method: str = "GET", **headers: str) -> ClientResponse:
        """Send a request and return its response."""
        self.request(path, method, **headers)
        return self.read_response(body=method != "HEAD")

    def read_to_end(self) -> bytes:
        """Return everything until the server closes its side."""
        return self._file.read()

    def closed(self) -> bool:
        """Return whether the server has closed its side. Waits for that, or for a byte."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def get(
    port: int, path: str = "/", *, tls: ssl.SSLContext | None = None, **headers: str
) -> ClientResponse:
    """Send one request on a new connection and return its response."""
    with Client(port, tls=tls) as client:
        return client.get(path, **headers)


def basic_auth(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
