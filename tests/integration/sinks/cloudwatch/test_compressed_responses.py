"""Responses compressed by a proxy are verified like others, within the same size limit."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
import zlib
from http.server import BaseHTTPRequestHandler

import pytest

from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import attempt
from tests.support.endpoint import Answer, Endpoint


def encoded(body: bytes, coding: str = "gzip", status: int = 200, cut: int = 0) -> Answer:
    """Return a responder like a compressing proxy: the length is that of the encoded body."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Encoding", coding)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) - cut])
        if cut:
            handler.connection.shutdown(socket.SHUT_WR)
            handler.close_connection = True

    return respond_so


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"{}"), "gzip"),
        (gzip.compress(b""), "gzip"),
        (zlib.compress(b"{}"), "deflate"),
        (b"{}", "identity"),
    ],
    ids=["gzip", "nothing", "deflate", "identity"],
)
def test_compressed_success(
    endpoint: Endpoint, transport: PutMetricDataTransport, body: bytes, coding: str
) -> None:
    endpoint.answer = encoded(body, coding)
    for _ in range(3):
        assert attempt(transport).verdict is Verdict.DELIVERED
    assert endpoint.connections == 1


def test_compressed_rejection(endpoint: Endpoint, transport: PutMetricDataTransport) -> None:
    refusal = json.dumps({"__type": "InvalidParameterValue", "message": "no"}).encode()
    endpoint.answer = encoded(gzip.compress(refusal), status=400)
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "InvalidParameterValue")


@pytest.mark.parametrize(
    ("responder", "reason"),
    [
        (encoded(gzip.compress(b"{}"), cut=4), "ended after 18 of 22 bytes"),
        (encoded(b"no such thing"), "the response was lost"),
        (
            encoded(gzip.compress(b"<html>Please log in</html>")),
            "not a response of CloudWatch: '<html>Please",
        ),
        (encoded(gzip.compress(b" " * 2**16 + b"{}")), "longer than 65536 bytes"),
        (encoded(gzip.compress(b" " * 2**26)), "longer than 65536 bytes"),
    ],
    ids=["cut off", "not compressed", "a page", "a little too long", "a bomb"],
)
def test_compressed_wrong_response(
    endpoint: Endpoint, transport: PutMetricDataTransport, responder: Answer, reason: str
) -> None:
    endpoint.answer = responder
    tracemalloc.start()
    outcome = attempt(transport)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert reason in outcome.message
    assert outcome.ambiguous
    assert peak < 10 * 2**20
