"""HTTP requests and responses on one connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any, NamedTuple

from neuron_exporter import __version__
from neuron_exporter.compression import FAST, compress
from neuron_exporter.log import get_logger
from neuron_exporter.web.access import Access
from neuron_exporter.web.connections import Connection
from neuron_exporter.web.protection import BusyError
from neuron_exporter.web.strictness import (
    Headers,
    MalformedRequest,
    StrictReader,
    check_headers,
    check_request_line,
    has_body,
)

_MAX_HEADER_BYTES = 64 * 1024
_MIN_COMPRESSED_BYTES = 1024
_RETRY_SECONDS = "1"
_log = get_logger(part="http")


class Request(NamedTuple):
    """Request for a route. `is_authenticated` is true if only authenticated clients reach a route;
    `client` is the client's address."""

    path: str
    headers: Message
    is_authenticated: bool = False
    client: str = ""

    def header(self, name: str) -> str:
        """Return the value of a header, repeated lines joined; empty if it is missing."""
        return ", ".join(self.headers.get_all(name, ()))


class Response(NamedTuple):
    """A response. The body may consist of several parts, so that nothing large is copied."""

    body: bytes | tuple[bytes, ...]
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})


Route = Callable[[Request], Response]

_UNAUTHORIZED = Response(b"unauthorized\n", status=401)
_BUSY = Response(
    b"too many unknown passwords at once\n", status=503, headers={"Retry-After": _RETRY_SECONDS}
)


class Handler(BaseHTTPRequestHandler):
    """Handler of all requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    MessageClass = Headers

    def __init__(
        self,
        connection: Connection,
        client: tuple[str, int],
        routes: Mapping[str, Route],
        access: Callable[[], Access],
    ) -> None:
        self._connection = connection
        self._routes = routes
        self._access = access
        super().__init__(connection.socket, client, None)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Wait for a request as an idle connection, then handle it within its timeout."""
        if not self.rfile.peek(1):  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self._connection.mark_reading()
        super().handle_one_request()
        self._connection.mark_idle()

    def parse_request(self) -> bool:
        """Read the headers strictly, with one limit for all of them together."""
        buffered = self.rfile
        self.rfile = StrictReader(buffered, _MAX_HEADER_BYTES)  # type: ignore[assignment]
        self.command = ""
        try:
            check_request_line(self.raw_requestline)  # type: ignore[attr-defined]
            is_valid = super().parse_request()
            if is_valid:
                check_headers(self.request_version, self.headers)
        except MalformedRequest as error:
            self.send_error(400, str(error))
            return False
        finally:
            self.rfile = buffered
        return is_valid

    def handle_expect_100(self) -> bool:
        """Ask for no body."""
        return True

    def do_GET(self) -> None:
        """Respond with the result of the route for the path."""
        if has_body(self.headers):
            # The body is not read; it must not be parsed as a request.
            self.send_error(400, "a request must not have a body")
            return
        access, tls = self._access(), self._connection.tls
        if access.tls is not tls:
            self.close_connection = True  # its TLS settings have been replaced
        path = self.path.partition("?")[0]
        has_verified = tls is not None and tls.verifies_clients
        is_authenticated = access.passwords is not None or has_verified
        request = Request(path, self.headers, is_authenticated, self.client_address[0])
        self._connection.mark_processing()
        refusal = self._refusal(access, request)
        if refusal is not None:
            self.close_connection = True
            self._respond(refusal)
            return
        route = self._routes.get(path)
        if route is None:
            # Without the files of the page, which only the page requests.
            paths = ", ".join(sorted(each for each in self._routes if "." not in each))
            self._respond(Response(f"not found; available: {paths}\n".encode(), status=404))
            return
        try:
            response = route(request)
        except Exception as error:  # noqa: BLE001 (a failing route must not end its connection)
            _log.error("route_failed", path=path, client=self.client_address[0], error=repr(error))
            response = Response(b"internal error\n", status=500)
        self._respond(response)

    do_HEAD = do_GET

    def _refusal(self, access: Access, request: Request) -> Response | None:
        """Return the response to a client that has not authenticated and must."""
        if access.requires_authentication and not request.is_authenticated:
            return _UNAUTHORIZED  # the connection is older than the need for certificates
        if access.passwords is None:
            return None
        try:
            is_valid = access.passwords.verify(request.header("Authorization"), request.client)
        except BusyError:
            return _BUSY
        return None if is_valid else _UNAUTHORIZED

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Reject a request in plain text."""
        self.close_connection = True
        if code == 501:  # the standard library's code for a method without a handler
            code, message = 405, "only GET and HEAD are supported"
        short = self.responses.get(code, ("error", ""))[0]
        self._respond(Response(f"{message or short}\n".encode(errors="replace"), status=code))

    def log_message(self, *_: Any) -> None:
        """Do nothing: requests are not logged."""

    def _respond(self, response: Response) -> None:
        parts = response.body if isinstance(response.body, tuple) else (response.body,)
        length = sum(map(len, parts))
        head = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Server: neuron-exporter/{__version__}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            *(f"{name}: {value}" for name, value in self._access().sent_headers().items()),
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        accepted = self.headers.get("Accept-Encoding", "") if hasattr(self, "headers") else ""
        if length >= _MIN_COMPRESSED_BYTES and _accepts_gzip(accepted):
            parts = (compress(parts, FAST),)
            length = len(parts[0])
            head.append("Content-Encoding: gzip")
        if response.status == 401:
            head.append('WWW-Authenticate: Basic realm="neuron-exporter", charset="UTF-8"')
        if response.status == 405:
            head.append("Allow: GET, HEAD")
        if self.close_connection:
            head.append("Connection: close")
        if response.status != HTTPStatus.NOT_MODIFIED:  # it would be that of the 200
            head.append(f"Content-Length: {length}")
        head.append("\r\n")
        self._connection.mark_writing()
        # Nagle's algorithm would delay each write until the previous one is acknowledged.
        self.wfile.write("\r\n".join(head).encode("latin-1"))
        if self.command != "HEAD":
            for part in parts:
                self.wfile.write(part)


def _accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip. A named coding overrides "*"."""
    allowed = {}
    for part in header.lower().split(","):
        coding, _, quality = part.partition(";")
        is_zero = quality.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        allowed[coding.strip()] = not is_zero
    return allowed.get("gzip", allowed.get("*", False))
