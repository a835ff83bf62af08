"""Responses that are not a receiver's are retried, and cost no more than the time of an attempt."""

from __future__ import annotations

import socket
import time
import tracemalloc
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from neuron_exporter.sinks.delivery.transport import Verdict
from neuron_exporter.sinks.otlp import connection
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.otlp_attempts import assert_delivered, attempt
from tests.support.otlp_front import Answer, OtlpFront, hang, raw
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for


def stream(beginning: bytes, part: bytes, *, pause: float = 0.0) -> Answer:
    """Return an endless response, possibly a slow one."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write(beginning)
            while True:
                handler.wfile.write(part)
                time.sleep(pause)

    return respond


HEADERS = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        stream(HEADERS, b"\0" * 2**20),
        stream(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"100000\r\n" + b"\0" * 2**20 + b"\r\n",
        ),
        raw(200, b"\0" * 2**17),
    ],
    ids=["endless", "chunks", "long"],
)
def test_long_response_is_not_read(
    front: OtlpFront, transport: OtlpTransport, answer: Answer
) -> None:
    assert_delivered(transport)
    front.respond_with(answer)
    tracemalloc.start()
    outcome = attempt(transport)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert outcome.message == "the response is longer than 65536 bytes"
    assert outcome.ambiguous
    assert peak < 10 * 2**20


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n\x0a\x00",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["cut off", "chunks", "not compressed"],
)
def test_lost_response_is_retried(
    front: OtlpFront, transport: OtlpTransport, content: bytes
) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.connection.shutdown(socket.SHUT_WR)
        handler.close_connection = True

    front.respond_with(respond)
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert outcome.message.startswith("the response was lost: ")
    front.recover()
    assert_delivered(transport)


def test_status_of_a_lost_error_is_enough(front: OtlpFront, transport: OtlpTransport) -> None:
    front.respond_with(stream(b"HTTP/1.1 503 No\r\nContent-Encoding: gzip\r\n\r\n", b"x" * 1000))
    assert attempt(transport).code == "HTTP503"


# Hanging


@pytest.mark.parametrize(
    "answer",
    [
        hang,
        stream(b"", b"H", pause=0.1),
        stream(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause=0.1),
        stream(HEADERS, b"\0", pause=0.1),
    ],
    ids=["silent", "status", "header", "body"],
)
def test_slow_response_exceeds_deadline(
    front: OtlpFront, transport: OtlpTransport, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT", 5.0)  # after which a silent one ends
    assert_delivered(transport)
    front.respond_with(answer)
    outcome = attempt(transport, deadline=0.5)
    while not front.failed:  # on a busy machine
        outcome = attempt(transport, deadline=3)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
    assert outcome.message.startswith("no result after ")
    front.recover()
    assert_delivered(transport)  # by another connection, while the first may still be used
    wait_for(lambda: not threads("otlp-attempt"))


# An attempt that is aborted while it connects drops its socket, which Python closes with a warning.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(socket|function Weak):pytest.PytestUnraisableExceptionWarning"
)
def test_aborted_attempts_leak_nothing(front: OtlpFront, transport: OtlpTransport) -> None:
    assert_delivered(transport)
    before = descriptors()
    front.respond_with(stream(HEADERS, b"\0", pause=0.05))
    for _ in range(10):
        assert attempt(transport, deadline=0.2).code == "Overdue"
    # The server's descriptors are in this process as well.
    wait_for(lambda: not threads("otlp-attempt") and descriptors() <= before)
