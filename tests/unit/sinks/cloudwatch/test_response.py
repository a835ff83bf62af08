"""An answer that a proxy has compressed counts as what it says, within the same bounds."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.put_metric_data import Api
from neuron_exporter.sinks.cloudwatch.transport import Verdict
from tests.support.endpoint import Answer, Endpoint

DATUM: dict[str, Any] = {"MetricName": "NeuronCoreUtilization", "Value": 7.0}


@pytest.fixture
def transport(endpoint: Endpoint, nobodys_credentials: None) -> Iterator[Api]:
    """A transport to it, with credentials of nobody."""
    opened = Api("us-east-1", endpoint.url)
    assert opened.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    yield opened
    opened.close()


def encoded(body: bytes, coding: str = "gzip", status: int = 200, cut: int = 0) -> Answer:
    """An answer as a proxy that compresses passes it on, the length being of what it sends."""

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
def test_an_answer_that_a_proxy_compressed_is_a_success(
    endpoint: Endpoint, transport: Api, body: bytes, coding: str
) -> None:
    """What was delivered through such a proxy is not sent again, and its connection is kept."""
    endpoint.answer = encoded(body, coding)
    for _ in range(3):
        assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    assert endpoint.connections == 1


def test_a_refusal_that_a_proxy_compressed_is_read(endpoint: Endpoint, transport: Api) -> None:
    """What would be refused again is told from what may be tried later, as without the proxy."""
    refusal = json.dumps({"__type": "InvalidParameterValue", "message": "no"}).encode()
    endpoint.answer = encoded(gzip.compress(refusal), status=400)
    outcome = transport.send("NeuronExporter", [DATUM])
    assert (outcome.verdict, outcome.code) == (Verdict.NEVER, "InvalidParameterValue")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (encoded(gzip.compress(b"{}"), cut=4), "broke off after 18 of 22 bytes"),
        (encoded(b"no such thing"), "the answer was lost"),
        (
            encoded(gzip.compress(b"<html>Please log in</html>")),
            "no answer of CloudWatch: '<html>Please",
        ),
        (encoded(gzip.compress(b" " * 2**16 + b"{}")), "longer than 65536 bytes"),
        (encoded(gzip.compress(b" " * 2**26)), "longer than 65536 bytes"),
    ],
    ids=["cut off", "not compressed", "a page", "a little too long", "a bomb"],
)
def test_compression_hides_no_wrong_answer(
    endpoint: Endpoint, transport: Api, given: Answer, reason: str
) -> None:
    """A compressed answer is held to the same rules, and its bound is of what it unpacks to."""
    endpoint.answer = given
    tracemalloc.start()
    outcome = transport.send("NeuronExporter", [DATUM])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert reason in outcome.message
    assert outcome.ambiguous
    assert most < 10 * 2**20
