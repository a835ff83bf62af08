"""CloudWatch's front door: refuses what AWS refuses, and hands the rest to moto, which takes all.

Stands where `Endpoint` does, and keeps what it let in as that does.
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

from tests.support.endpoint import Endpoint, accept, refuse, respond
from tests.support.http import serving
from tests.support.put_metric_data import MOST_BYTES, Refused, check

_OPERATION = "PutMetricData"
_TARGET = f"GraniteServiceVersion20100801.{_OPERATION}"
_JSON = "application/x-amz-json-1.0"
_UNSUPPORTED = "UnsupportedProtocol"
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Reply(NamedTuple):
    """What the one behind the front answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class StrictFront(Endpoint):
    """What was let in (`requests`), what was not (`refused`), and what CloudWatch would have
    aggregated apart (`inconsistent`: one metric with two units).

    While `answer` is not `accept`, it answers instead of the one behind; what it answers was
    legal, and is kept in `failed`.
    """

    def __init__(self, behind: str | None, clock: Callable[[], float]) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.inconsistent: list[str] = []
        self.failed: list[dict[str, Any]] = []
        self._behind = behind
        self._clock = clock
        self._units: dict[tuple[object, ...], str] = {}
        self._lock = threading.Lock()

    def down(self) -> None:
        """Fail as an overloaded service does, until `up`."""
        self.answer = refuse(503, "ServiceUnavailable")

    def up(self) -> None:
        """Answer as before."""
        self.answer = accept

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer any request."""
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
                raise Refused("RefusedBehind", reply.body.decode(), reply.status)
        except Refused as refused:
            self.refused.append(str(refused))
            refuse_with(handler, refused)
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
        """The request as it came, to the one behind; None where there is none."""
        if self._behind is None:
            return None
        headers = {n: v for n, v in handler.headers.items() if n.lower() not in _OF_ONE_HOP}
        place = urllib.parse.urlsplit(self._behind).netloc
        with closing(HTTPConnection(place, timeout=30)) as connection:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in _OF_ONE_HOP]
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


def refuse_with(handler: BaseHTTPRequestHandler, refused: Refused) -> None:
    """Tell the client as AWS does."""
    told = {"__type": refused.code, "message": str(refused.args[0])}
    respond(handler, refused.status, json.dumps(told))


def _is_put(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
    """Whether this is PutMetricData, in whichever protocol."""
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
    """The decoded request.

    Raises:
        Refused: it is none, too large, or in a format that nobody here knows.
    """
    headers = handler.headers
    kind, target = headers.get("Content-Type"), headers.get("X-Amz-Target")
    if (handler.command, handler.path, kind, target) != ("POST", "/", _JSON, _TARGET):
        got = f"{handler.command} {handler.path}, {kind}, {target}"
        raise Refused(
            _UNSUPPORTED, f"the wire format must be POST /, {_JSON}, {_TARGET} (got {got})"
        )
    encoding = headers.get("Content-Encoding", "identity")
    if encoding not in ("gzip", "identity"):
        raise Refused(_UNSUPPORTED, f"Content-Encoding: must be gzip or none (got {encoding!r})")
    try:
        plain = gzip.decompress(body) if encoding == "gzip" else body
        if len(plain) > MOST_BYTES:
            raise Refused(
                "RequestEntityTooLarge", f"at most {MOST_BYTES} bytes (got {len(plain)})", 413
            )
        return json.loads(plain)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise Refused("SerializationException", f"the body cannot be read: {error}") from None


def _relay(handler: BaseHTTPRequestHandler, reply: Reply | None) -> None:
    assert reply is not None
    handler.send_response_only(reply.status)
    for name, value in reply.headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    handler.wfile.write(reply.body)


@contextmanager
def strict_front(
    behind: str | None = None, clock: Callable[[], float] = time.time
) -> Iterator[StrictFront]:
    """A front before the server at this address, or one that takes all that is legal itself.

    `clock` says what time it is for CloudWatch (Unix seconds).
    """
    front = StrictFront(behind, clock)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            front.handle(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as front.url:
        yield front
