"""Requests on one connection, and their answers."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any, NamedTuple

from neuron_exporter import __version__
from neuron_exporter.log import get_logger
from neuron_exporter.web.access import Access
from neuron_exporter.web.connections import Connection
from neuron_exporter.web.headers import Rationed, accepts_gzip

_LONGEST_HEADERS = 64 * 1024
_SMALLEST_COMPRESSED = 1024
_PROTECTING = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Encoding",
}

_log = get_logger(part="http")


class Request(NamedTuple):
    """What a route may look at; it is authenticated where the server asks everybody who it is."""

    path: str
    headers: Message
    is_authenticated: bool = False

    def header(self, name: str) -> str:
        """The value of a header, which may stand in several lines; empty without one."""
        return ", ".join(self.headers.get_all(name, ()))


class Response(NamedTuple):
    """What a route answers; a body may be given in parts, so that nothing large is copied."""

    body: bytes | tuple[bytes, ...]
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})


Route = Callable[[Request], Response]


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection until it ends."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(
        self,
        connection: Connection,
        client: Any,
        routes: Mapping[str, Route],
        access: Callable[[], Access],
    ) -> None:
        self._connection = connection
        self._routes = routes
        self._access = access
        super().__init__(connection.socket, client, None)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Wait for a request as an idle connection, then answer it within its time."""
        if not self.rfile.peek(1):  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self._connection.begin()
        super().handle_one_request()
        self._connection.idle()

    def parse_request(self) -> bool:
        """Read the headers, which have a limit for all of them together."""
        buffered = self.rfile
        self.rfile = Rationed(buffered, _LONGEST_HEADERS)  # type: ignore[assignment]
        try:
            return super().parse_request()
        finally:
            self.rfile = buffered

    def do_GET(self) -> None:
        """Answer with what the route of the path gives."""
        access = self._access()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read, and must not pass for a request
        if access.tls is not self._connection.tls:
            self.close_connection = True  # its encryption has been replaced
        path = self.path.partition("?")[0]
        request = Request(path, self.headers, access.asks_who)
        # Until it is known who asks, the connection counts as waiting, and may be displaced.
        if access.passwords is not None and not access.passwords.admit(
            request.header("Authorization")
        ):
            self.close_connection = True
            self._respond(Response(b"unauthorized\n", status=401))
            return
        self._connection.compute()
        route = self._routes.get(path)
        if route is None:
            # Not the files of a page, which are for the page alone.
            known = ", ".join(sorted(each for each in self._routes if "." not in each))
            self._respond(Response(f"not found; there are {known}\n".encode(), status=404))
            return
        try:
            response = route(request)
        except Exception as error:  # noqa: BLE001 (a failing route must not end its connection)
            _log.error("route_failed", path=path, error=repr(error))
            response = Response(b"internal error\n", status=500)
        self._respond(response)

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be served, in plain text."""
        self.close_connection = True
        if code == 501:  # a method that no route has
            code, message = 405, "only GET and HEAD"
        short = self.responses.get(code, ("error", ""))[0]
        self._respond(Response(f"{message or short}\n".encode(errors="replace"), status=code))

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""

    def _respond(self, response: Response) -> None:
        parts = response.body if isinstance(response.body, tuple) else (response.body,)
        length = sum(map(len, parts))
        about = {**_PROTECTING, **self._access().headers}
        head = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Server: neuron-exporter/{__version__}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            *(f"{name}: {value}" for name, value in about.items() if value),
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        wanted = self.headers.get("Accept-Encoding", "") if hasattr(self, "headers") else ""
        if length >= _SMALLEST_COMPRESSED and accepts_gzip(wanted):
            parts = (gzip.compress(b"".join(parts), compresslevel=1, mtime=0),)
            length = len(parts[0])
            head.append("Content-Encoding: gzip")
        if response.status == 401:
            head.append('WWW-Authenticate: Basic realm="neuron-exporter", charset="UTF-8"')
        if response.status == 405:
            head.append("Allow: GET, HEAD")
        if self.close_connection:
            head.append("Connection: close")
        if response.status != HTTPStatus.NOT_MODIFIED:  # whose length would be that of the 200
            head.append(f"Content-Length: {length}")
        head.append("\r\n")
        self._connection.write()
        # Several writes would wait for each other's acknowledgement, were Nagle's algorithm on.
        self.wfile.write("\r\n".join(head).encode("latin-1"))
        if self.command != "HEAD":
            for part in parts:
                self.wfile.write(part)
