"""A real HTTP server in place of CloudWatch, with responses that a test chooses."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http import serving

Answer = Callable[[BaseHTTPRequestHandler], None]


def accept(handler: BaseHTTPRequestHandler) -> None:
    """Respond as CloudWatch does when it accepts a request."""
    respond(handler, 200, "{}")


def respond(handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
    """Respond with this status and body."""
    body = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-amz-json-1.0")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def reject(status: int, code: str) -> Answer:
    """Return a response that rejects as AWS does: a status, and a code in the body."""
    return lambda handler: respond(handler, status, json.dumps({"__type": code, "message": "no"}))


class Endpoint:
    """Requests that have arrived, and the response to the next ones."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = accept
        self.connections = 0

    def datums(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return all datums that have arrived, or those of one metric."""
        return [
            datum
            for request in list(self.requests)
            for datum in request["MetricData"]
            if name is None or datum["MetricName"] == name
        ]

    def values(self, name: str) -> Counter[float]:
        """Return the values of a metric with their counts."""
        values = Counter[float]()
        for datum in self.datums(name):
            numbers = datum.get("Values", [datum.get("Value")])
            counts = datum.get("Counts", [1] * len(numbers))
            for value, count in zip(numbers, counts, strict=True):
                values[value] += count
        return values

    def total(self, name: str) -> float:
        """Return the sum of all values of a metric."""
        return sum(value * count for value, count in self.values(name).items())


@contextmanager
def cloudwatch_endpoint() -> Iterator[Endpoint]:
    """Serve PutMetricData in the JSON protocol, and record the requests."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            endpoint.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            endpoint.headers.append(dict(self.headers))
            endpoint.requests.append(json.loads(body))
            endpoint.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as endpoint.url:
        yield endpoint
