"""An endpoint that rejects what AWS rejects, and forwards the rest to moto, which accepts anything.

It replaces `Endpoint`, and records accepted requests in the same way.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tests.support.endpoint import Endpoint, accept, reject, respond
from tests.support.http import serving
from tests.support.put_metric_data import MAX_BYTES, Rejected, check

_OPERATION = "PutMetricData"
_TARGET = f"GraniteServiceVersion20100801.{_OPERATION}"
_JSON = "application/x-amz-json-1.0"
_UNSUPPORTED = "UnsupportedProtocol"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Reply(NamedTuple):
    """Response of the server behind."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ValidatingEndpoint(Endpoint):
    """Recorder of accepted `requests`, `rejected` ones, and `inconsistent` metrics: those with two
    units, which CloudWatch would aggregate separately.

    While `answer` is not `accept`, it responds instead of the server behind. Legal requests that it
    responds to are recorded in `failed`.
    """

    def __init__(self, behind: str | None, clock: Callable[[], float]) -> None:
        super().__init__()
        self.rejected: list[str] = []
        self.inconsistent: list[str] = []
        self.failed: list[dict[str, Any]] = []
        self._behind = behind
        self._clock = clock
        self._units: dict[tuple[object, ...], str] = {}
        self._lock = threading.Lock()

    def down(self) -> None:
        """Fail as an overloaded service does, until `up`."""
        self.answer = reject(503, "ServiceUnavailable")

    def up(self) -> None:
        """Respond normally again."""
        self.answer = accept

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to any request."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if _is_put(handler, body):
            self._put(handler, body)
        elif self._behind is None:
            respond(handler, 501, json.dumps({"__type": "NotImplemented", "message": "no moto"}))
        else:
            _relay(handler, self._forward(handler, body))

    def _put(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        answer = self.answer
        try:
            request = _read(handler, body)
            check(request, self._clock())
            reply = self._forward(handler, body) if answer is accept else None
            if reply is not None and reply.status != 200:
                raise Rejected("RejectedBehind", reply.body.decode(), reply.status)
        except Rejected as error:
            self.rejected.append(str(error))
            _respond_with_error(handler, error)
            return
        if answer is accept:
            self._note_units(request)
            self.headers.append(dict(handler.headers))
            self.requests.append(request)
        else:
            self.failed.append(request)
        if reply is None:
            answer(handler)
        else:
            _relay(handler, reply)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Reply | None:
        """Forward the unchanged request to the server behind; return None if there is none."""
        if self._behind is None:
            return None
        headers = {n: v for n, v in handler.headers.items() if n.lower() not in _HOP_BY_HOP}
        address = urllib.parse.urlsplit(self._behind).netloc
        with closing(HTTPConnection(address, timeout=60)) as connection:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP_BY_HOP]
            return Reply(answer.status, kept, answer.read())

    def _note_units(self, request: dict[str, Any]) -> None:
        for datum in request["MetricData"]:
            dimensions = frozenset((d["Name"], d["Value"]) for d in datum.get("Dimensions", []))
            metric = (request["Namespace"], datum["MetricName"], dimensions)
            unit = datum.get("Unit", "None")
            with self._lock:
                first = self._units.setdefault(metric, unit)
                if unit != first:
                    self.inconsistent.append(f"{datum['MetricName']}: in {first} and in {unit}")


def _respond_with_error(handler: BaseHTTPRequestHandler, error: Rejected) -> None:
    """Respond with an error in AWS's form."""
    body = {"__type": error.code, "message": str(error.args[0])}
    respond(handler, error.status, json.dumps(body))


def _is_put(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
    """Return whether this is PutMetricData, in any protocol."""
    path, _, query = handler.path.partition("?")
    form = handler.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    actions = urllib.parse.parse_qs(query).get("Action", [])
    if form:
        actions += urllib.parse.parse_qs(body.decode("latin-1")).get("Action", [])
    return (
        handler.headers.get("X-Amz-Target", "").endswith(f".{_OPERATION}")
        or re.search(rf"/operation/{_OPERATION}$", path) is not None
        or _OPERATION in actions
    )


def _read(handler: BaseHTTPRequestHandler, body: bytes) -> Any:
    """Return the decoded request.

    Raises:
        Rejected: the request is malformed, too large, or in an unsupported format.
    """
    headers = handler.headers
    kind, target = headers.get("Content-Type"), headers.get("X-Amz-Target")
    if (handler.command, handler.path, kind, target) != ("POST", "/", _JSON, _TARGET):
        got = f"{handler.command} {handler.path}, {kind}, {target}"
        raise Rejected(
            _UNSUPPORTED, f"the wire format must be POST /, {_JSON}, {_TARGET} (got {got})"
        )
    encoding = headers.get("Content-Encoding", "identity")
    if encoding not in ("gzip", "identity"):
        raise Rejected(_UNSUPPORTED, f"Content-Encoding: must be gzip or none (got {encoding!r})")
    try:
        plain = gzip.decompress(body) if encoding == "gzip" else body
        if len(plain) > MAX_BYTES:
            raise Rejected(
                "RequestEntityTooLarge", f"at most {MAX_BYTES} bytes (got {len(plain)})", 413
            )
        return json.loads(plain)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise Rejected("SerializationException", f"the body cannot be read: {error}") from None


def _relay(handler: BaseHTTPRequestHandler, reply: Reply | None) -> None:
    assert reply is not None
    handler.send_response_only(reply.status)
    for name, value in reply.headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    handler.wfile.write(reply.body)


@contextmanager
def validating_endpoint(
    behind: str | None = None,
    clock: Callable[[], float] = time.time,
    host: str = "127.0.0.1",
) -> Iterator[ValidatingEndpoint]:
    """Serve in front of the server at this address, or accept legal requests without one.

    `clock` returns CloudWatch's time (Unix seconds). `host` is the own address.
    """
    front = ValidatingEndpoint(behind, clock)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            front.handle(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, host) as front.url:
        yield front
