"""Responses that are not CloudWatch's are retried, and cost no more than the time of an attempt."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import CHUNKS, HEADERS, attempt
from tests.support.endpoint import Answer, Endpoint, accept, respond


def garbled(*parts: bytes, reset: bool = False) -> Answer:
    """Return a responder that sends these bytes and ends the connection, possibly by a reset."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
        if reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with suppress(OSError):
            handler.connection.shutdown(socket.SHUT_WR if not reset else socket.SHUT_RD)
        handler.close_connection = True
        if reset:
            handler.connection.close()

    return respond_so


def silent_after(*parts: bytes) -> Answer:
    """Return a responder that sends these bytes and then neither sends nor closes."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
        handler.rfile.read(1)  # until the client has disconnected

    return respond_so


@pytest.mark.parametrize(
    "responder",
    [
        garbled(reset=True),
        garbled(HEADERS, reset=True),
        garbled(HEADERS, b"{}", reset=True),
        garbled(bytes(range(256)) * 10),
        garbled(b"x" * 1_000_000),
        garbled(b"SSH-2.0-OpenSSH_9.7\r\n"),
        garbled(b"HTTP/1.1 999 what\r\n\r\n"),
        garbled(b"HTTP/1.1 200 OK\r\nno colon\r\n" * 500),
        garbled(CHUNKS, b"zz\r\n{}\r\n"),
        garbled(CHUNKS, b"2\r\n{}\r\n"),
        silent_after(HEADERS, b"{"),
        silent_after(CHUNKS, b"2\r\n{}\r\n"),
    ],
    ids=["reset", "reset in the answer", "reset in the body", "binary", "endless line", "ssh",
         "status 999", "headers", "chunks", "no last chunk", "silence in the body",
         "silence for a chunk"],
)  # fmt: skip
def test_garbled_response_is_retried(
    endpoint: Endpoint, transport: PutMetricDataTransport, responder: Answer
) -> None:
    endpoint.answer = responder
    outcome = attempt(transport, deadline=5.0)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.ambiguous == (outcome.code != "999")  # an error status
    endpoint.answer = accept
    assert attempt(transport).verdict is Verdict.DELIVERED


HTML = "<!DOCTYPE html><html><body>Please log in to use this network</body></html>"


@pytest.mark.parametrize(
    ("responder", "reason"),
    [
        (
            lambda handler: respond(handler, 200, HTML),
            "not a response of CloudWatch: '<!DOCTYPE html",
        ),
        (lambda handler: respond(handler, 200, "OK"), "not a response of CloudWatch: 'OK'"),
        (lambda handler: respond(handler, 200, "[]"), "not a response of CloudWatch: '[]'"),
        (garbled(HEADERS, b"{}"), "ended after 2 of 2000 bytes"),
        (garbled(HEADERS), "ended after 0 of 2000 bytes"),
        (garbled(CHUNKS, b"1\r\n{\r\n0\r\n\r\n"), "not a response of CloudWatch: '{'"),
    ],
    ids=["a page", "text", "another document", "cut off", "cut off at once", "half"],
)
def test_foreign_success_is_retried(
    endpoint: Endpoint, transport: PutMetricDataTransport, responder: Answer, reason: str
) -> None:
    endpoint.answer = responder
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert reason in outcome.message
    assert outcome.ambiguous


@pytest.mark.parametrize("text", ["{}", "", ' {"a": 1}\n'])
def test_legal_responses_are_successes(
    endpoint: Endpoint, transport: PutMetricDataTransport, text: str
) -> None:
    endpoint.answer = lambda handler: respond(handler, 200, text)
    assert attempt(transport).verdict is Verdict.DELIVERED


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKS], ids=["body", "chunk"])
def test_endless_response_is_not_read(
    endpoint: Endpoint,
    transport: PutMetricDataTransport,
    beginning: bytes,
) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        with suppress(OSError):
            while True:
                handler.wfile.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")

    endpoint.answer = flood
    tracemalloc.start()
    outcome = attempt(transport)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert "longer than" in outcome.message
    assert outcome.ambiguous
    assert peak < 10 * 2**20
