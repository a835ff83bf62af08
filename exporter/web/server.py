"""A bounded HTTP server: the standard library's, with limits on connections and on time.

At most `MOST_CONNECTIONS` are open; a newcomer displaces the one that has waited longest, so
that neither idle nor half-open connections can keep a scrape out. Whoever is in the middle of a
request has `REQUEST_SECONDS` for all of it, slow readers included.
"""

from __future__ import annotations

import gzip
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, cast

from exporter import __version__
from exporter.log import get_logger
from exporter.web.headers import Rationed, accepts_gzip

MOST_CONNECTIONS = 32
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 300.0

_SWEEP_SECONDS = 0.5
_SLOT_SECONDS = 1.0
_WRITE_SECONDS = 1.0
_LONGEST_HEADERS = 64 * 1024
_SMALLEST_COMPRESSED = 1024
_SECURITY_HEADERS = (
    "X-Content-Type-Options: nosniff",
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy: no-referrer",
    "Cache-Control: no-store",
    "Vary: Accept-Encoding",
)

_log = get_logger(part="http")


class Request(NamedTuple):
    """What a route may look at."""

    path: str
    headers: Mapping[str, str]


class Response(NamedTuple):
    """What a route answers; a body may be given in parts, so that nothing large is copied."""

    body: bytes | tuple[bytes, ...]
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Route = Callable[[Request], Response]


class BindError(Exception):
    """The address cannot be listened on."""


class _Connection:
    """One connection: since when it waits, and until when its request must be over."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.waiting_since: float | None = time.monotonic()
        self.deadline = time.monotonic() + REQUEST_SECONDS

    def idle(self) -> None:
        """No request is under way."""
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + IDLE_SECONDS

    def begin(self) -> None:
        """The first byte of a request has come."""
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + REQUEST_SECONDS

    def compute(self) -> None:
        """The request is complete; what follows is up to us."""
        self.waiting_since = None

    def write(self) -> None:
        """The answer is ready; after a moment it is the client who keeps us waiting."""
        self.waiting_since = time.monotonic() + _WRITE_SECONDS

    def break_off(self) -> None:
        """End every read and write on the connection, from another thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Server:
    """Serves routes on one address, from a thread of its own."""

    def __init__(
        self, listen: str, routes: Mapping[str, Route], on_tick: Callable[[], None]
    ) -> None:
        """Bind to `listen` ("HOST:PORT"; port 0 takes a free one).

        Raises:
            BindError: with the reason, for people.
        """
        host, _, port = listen.rpartition(":")
        try:
            self._server = _bind((host.strip("[]"), int(port)))
        except (OSError, TypeError, OverflowError) as error:
            # The last two: a NUL in the host, a port beyond 65535.
            reason = getattr(error, "strerror", None) or str(error)
            raise BindError(f"cannot listen on {listen}: {reason}") from error
        self._server.routes = routes
        self._server.on_tick = on_tick
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self.on_death: Callable[[BaseException | None], None] = lambda _: None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """An address at which this machine can reach the server."""
        host = str(self._server.server_address[0])
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop to serve and break off what is under way."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.break_off_all()
        self._server.server_close()

    def _serve(self) -> None:
        failure: BaseException | None = None
        try:
            self._server.serve_forever(poll_interval=_SWEEP_SECONDS)
        except BaseException as error:  # noqa: BLE001 (the daemon decides what its death means)
            failure = error
        self.on_death(failure)


def _bind(address: tuple[str, int]) -> _Bounded:
    if ":" not in address[0]:
        return _Bounded(address, _Handler)
    return _BoundedIPv6(address, _Handler)


class _Bounded(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.routes: Mapping[str, Route] = {}
        self.on_tick: Callable[[], None] = lambda: None
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._connections: dict[Any, _Connection] = {}
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, making room for it if there is none."""
        if not self._slots.acquire(blocking=False):
            self._displace()
            if not self._slots.acquire(timeout=_SLOT_SECONDS):
                self.shutdown_request(request)
                return
        connection = _Connection(request)
        with self._lock:
            self._connections[request] = connection
        try:
            threading.Thread(
                target=self._work, args=(request, client_address), name="http-worker", daemon=True
            ).start()
        except RuntimeError:  # the system has no thread to give
            self._forget(request)
            raise

    def connection(self, request: Any) -> _Connection:
        """What is known of a connection."""
        return self._connections[request]

    def service_actions(self) -> None:
        """Break off whoever took too long. Called by serve_forever after each wait."""
        self.on_tick()
        now = time.monotonic()
        with self._lock:
            late = [each for each in self._connections.values() if now > each.deadline]
        for each in late:
            each.break_off()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nothing to talk about."""

    def break_off_all(self) -> None:
        """End all connections."""
        with self._lock:
            connections = list(self._connections.values())
        for each in connections:
            each.break_off()

    def _displace(self) -> None:
        """Break off the connection that has waited longest for its client."""
        with self._lock:
            waiting = [
                (each.waiting_since, each)
                for each in self._connections.values()
                if each.waiting_since is not None
            ]
        if waiting:
            min(waiting, key=lambda pair: pair[0])[1].break_off()

    def _work(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or was broken off
        except Exception as error:  # noqa: BLE001 (one connection never takes the server down)
            _log.error("connection_failed", error=repr(error))
        finally:
            self.shutdown_request(request)
            self._forget(request)

    def _forget(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        self._slots.release()


class _BoundedIPv6(_Bounded):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Wait for a request as an idle connection, then answer it within its time."""
        self._connection = cast(_Bounded, self.server).connection(self.request)
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
        self._connection.compute()
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read, and must not pass for a request
        path = self.path.partition("?")[0]
        route = cast(_Bounded, self.server).routes.get(path)
        if route is None:
            known = ", ".join(sorted(cast(_Bounded, self.server).routes))
            self._respond(Response(f"not found; there are {known}\n".encode(), status=404))
            return
        try:
            response = route(Request(path, dict(self.headers)))
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
        head = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Server: neuron-exporter/{__version__}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            *_SECURITY_HEADERS,
        ]
        wanted = self.headers.get("Accept-Encoding", "") if hasattr(self, "headers") else ""
        if length >= _SMALLEST_COMPRESSED and accepts_gzip(wanted):
            parts = (gzip.compress(b"".join(parts), compresslevel=1, mtime=0),)
            length = len(parts[0])
            head.append("Content-Encoding: gzip")
        if response.status == 405:
            head.append("Allow: GET, HEAD")
        if self.close_connection:
            head.append("Connection: close")
        head.append(f"Content-Length: {length}\r\n\r\n")
        self._connection.write()
        # Several writes would wait for each other's acknowledgement, were Nagle's algorithm on.
        self.wfile.write("\r\n".join(head).encode("latin-1"))
        if self.command != "HEAD":
            for part in parts:
                self.wfile.write(part)
