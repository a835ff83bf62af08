"""A real HTTP server in place of CloudWatch's OTLP endpoint, or of a collector, that rejects what
CloudWatch's page forbids, with failures that a test chooses."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from tests.support.http import serving
from tests.support.otlp_points import BadPoints, History, Point, read_points
from tests.support.sigv4 import BadSignature, Credentials, verify_signature

PATH = "/v1/metrics"
PROTOBUF = "application/x-protobuf"
SERVICE = "monitoring"
_ENCODINGS = ("gzip", "identity")

Answer = Callable[[BaseHTTPRequestHandler], None]


class Received(NamedTuple):
    """A request that was accepted: its headers, its points, and its bytes before gzip."""

    headers: Mapping[str, str]
    points: Sequence[Point]
    size: int


class Rejected(Exception):
    """A request outside the protocol, with the status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def respond(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> None:
    """Respond with this status, body and headers."""
    handler.send_response(status)
    for name, value in {
        "Content-Type": PROTOBUF,
        "Content-Length": str(len(body)),
        **(headers or {}),
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def accept(handler: BaseHTTPRequestHandler) -> None:
    """Respond as a receiver does when it accepts a request."""
    respond(handler, 200)


def fail(status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Answer:
    """Return a response with this status, and its message as OTLP specifies it."""
    return lambda handler: respond(handler, status, status_message(message), headers)


def aws_error(status: int, code: str, message: str = "no") -> Answer:
    """Return an error in the form of AWS's services."""
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    body = json.dumps({"message": message}).encode()
    return lambda handler: respond(handler, status, body, headers)


def raw(status: int, body: bytes, kind: str = PROTOBUF) -> Answer:
    """Return a response with this body."""
    return lambda handler: respond(handler, status, body, {"Content-Type": kind})


def partial_success(rejected: int, message: str = "") -> Answer:
    """Return the response of a receiver that has rejected some of the points. All are recorded."""
    partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    body = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    return raw(200, body)


def page(handler: BaseHTTPRequestHandler) -> None:
    """Respond as the portal of a network does."""
    html = b"<!DOCTYPE html><html><body>Please log in to use this network</body></html>"
    respond(handler, 200, html, {"Content-Type": "text/html; charset=utf-8"})


def redirect(target: str, status: int = 307) -> Answer:
    """Return a redirect."""
    return lambda handler: respond(handler, status, b"", {"Location": target})


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Neither respond nor close, until the client has disconnected."""
    with suppress(OSError):
        handler.rfile.read(1)
    handler.close_connection = True


def drop(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def status_message(message: str) -> bytes:
    """Return a google.rpc.Status, whose message has the number and type of that of
    ExportMetricsPartialSuccess."""
    return ExportMetricsPartialSuccess(error_message=message).SerializeToString()


class OtlpFront:
    """Recorder of accepted `requests`, reasons of `rejected` ones, and legal ones that have
    `failed`: those for which `answer` has a status other than 200, or none. `answer` responds to
    legal requests; one of `keeping` accepts the points as well. With `allows_empty`, a request
    without points is legal, as for most receivers."""

    def __init__(
        self,
        clock: Callable[[], float],
        credentials: Credentials | None,
        region: str,
        *,
        allow_repeats: bool,
        signing_clock: Callable[[], float] | None = None,
    ) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.failed: list[Received] = []
        self.rejected: list[str] = []
        self.answer: Answer = accept
        self.keeps_points = True
        self.allows_empty = False
        self.connections = 0
        self.credentials = credentials
        self.history = History(allow_repeats=allow_repeats)
        self._clock = clock
        self._signing_clock = signing_clock or clock
        self._region = region
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """URL of the metrics."""
        return f"{self.url}{PATH}"

    @property
    def points(self) -> list[Point]:
        """All accepted points in the order of their arrival."""
        return [point for request in list(self.requests) for point in request.points]

    @property
    def repeated(self) -> list[Point]:
        """Points that were accepted again."""
        return self.history.repeated

    def respond_with(self, answer: Answer, *, keeps_points: bool = False) -> None:
        """Respond so to legal requests, until `recover`. With `keeps_points`, points are recorded
        as accepted all the same."""
        self.answer, self.keeps_points = answer, keeps_points

    def recover(self) -> None:
        """Accept legal requests again."""
        self.answer, self.keeps_points = accept, True

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to any request."""
        length = handler.headers.get("Content-Length", "")
        body = handler.rfile.read(int(length)) if length.isdecimal() else b""
        answer, keeps_points = self.answer, self.keeps_points
        try:
            plain = self._check_protocol(handler, body)
            is_empty = self.allows_empty and not plain
            points = [] if is_empty else read_points(plain, self._clock())
            received = Received(dict(handler.headers), points, len(plain))
            with self._lock:
                if keeps_points:
                    new = self.history.add(points)
                    self.requests.append(received._replace(points=new))
                else:
                    self.failed.append(received)
        except BadSignature as error:
            self.rejected.append(f"{error.code}: {error}")
            aws_error(403, error.code, str(error))(handler)
        except Rejected as error:
            self.rejected.append(str(error))
            fail(error.status, str(error))(handler)
        except BadPoints as error:
            self.rejected.append(str(error))
            fail(400, str(error))(handler)
        else:
            answer(handler)

    def _check_protocol(self, handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
        """Return the body without its compression."""
        headers = handler.headers
        if handler.request_version != "HTTP/1.1":
            raise Rejected(505, f"must be HTTP/1.1 (got {handler.request_version})")
        if handler.path != PATH:
            raise Rejected(404, f"must be {PATH} (got {handler.path})")
        if handler.command != "POST":
            raise Rejected(405, f"must be POST (got {handler.command})")
        if headers.get("Content-Type") != PROTOBUF:
            raise Rejected(415, f"must be {PROTOBUF} (got {headers.get('Content-Type')})")
        if not headers.get("Content-Length", "").isdecimal():
            raise Rejected(411, "must have a length")
        if self.credentials is not None:
            verify_signature(
                handler.command,
                handler.path,
                headers,
                body,
                credentials=self.credentials,
                service=SERVICE,
                region=self._region,
                now=self._signing_clock(),
            )
        encoding = headers.get("Content-Encoding", "identity")
        if encoding not in _ENCODINGS:
            raise Rejected(415, f"Content-Encoding must be gzip or none (got {encoding})")
        try:
            return gzip.decompress(body) if encoding == "gzip" else body
        except (OSError, EOFError, zlib.error) as error:
            raise Rejected(400, f"not gzip: {error}") from None


@contextmanager
def otlp_front(
    clock: Callable[[], float] = time.time,
    *,
    credentials: Credentials | None = None,
    signing_clock: Callable[[], float] | None = None,
    region: str = "us-east-1",
    allow_repeats: bool = False,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[OtlpFront]:
    """Serve the endpoint. `clock` returns its time (Unix seconds). With `credentials`, requests
    must be signed with them for the region, at the time of `signing_clock` where that differs. With
    `allow_repeats`, a point may arrive again unchanged."""
    front = OtlpFront(
        clock, credentials, region, allow_repeats=allow_repeats, signing_clock=signing_clock
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            front.connections += 1

        def do_GET(self) -> None:
            front.handle(self)

        do_POST = do_PUT = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, host, tls=tls) as front.url:
        yield front
