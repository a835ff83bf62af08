"""An attempt ends in time and does not block the next, whatever endpoint and resolver do."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch import response as answer
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery.deadline import MAX_STUCK, Attempts
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from tests.support.cloudwatch_sinks import request_of
from tests.support.endpoint import Answer, Endpoint, accept, respond
from tests.support.http import serving
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

DATUM: dict[str, Any] = {
    "MetricName": "NeuronCoreUtilization",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
    "Timestamp": datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    "Value": 7.0,
}
DEADLINE = 0.8
PATIENT = 60.0
"""Deadline in seconds of attempts that a busy machine must not abort."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, fake_credentials: None) -> None:
    """Use fake credentials and short time limits."""
    monkeypatch.setattr(api, "CONNECT_TIMEOUT", 2.0)
    monkeypatch.setattr(api, "READ_TIMEOUT", 2.0)
    monkeypatch.setattr(api, "ATTEMPT_SECONDS", PATIENT)


@pytest.fixture
def transport(endpoint: Endpoint) -> Iterator[PutMetricDataTransport]:
    """A transport to the endpoint that has already created its client."""
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    assert opened.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    yield opened
    opened.close()


def attempt(
    transport: PutMetricDataTransport, *datums: dict[str, Any], deadline: float = PATIENT
) -> Outcome:
    """Return the outcome of an attempt with this deadline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "ATTEMPT_SECONDS", deadline)
        return transport.send(request_of(*(datums or [DATUM])))


def drips(fast: bytes, slow: bytes) -> Answer:
    """Return a responder that sends a part byte by byte, each before a read times out."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(fast)
        for byte in slow:
            handler.wfile.write(bytes((byte,)))
            time.sleep(0.1)

    return respond_so


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "responder",
    [
        drips(b"", HEADERS),
        drips(b"HTTP/1.1 200 OK\r\n", b"X-Waste: " + b"x" * 5000),
        drips(HEADERS, b"{" + b" " * 2000),
        drips(CHUNKS, b"1\r\n \r\n" * 1000),
        drips(CHUNKS, b"0" * 5000),
    ],
    ids=["status", "header", "body", "chunks", "length of a chunk"],
)
def test_slow_response_exceeds_deadline(
    endpoint: Endpoint, transport: PutMetricDataTransport, responder: Answer
) -> None:
    endpoint.answer = responder
    started = time.monotonic()
    outcome = attempt(transport, deadline=DEADLINE)
    assert time.monotonic() - started >= DEADLINE
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
    assert outcome.message == "no result after 0.8 s"
    assert outcome.ambiguous
    wait_for(lambda: not threads("cloudwatch-attempt"))

    endpoint.answer = accept
    assert attempt(transport).verdict is Verdict.DELIVERED


def test_aborted_attempts_leak_nothing(
    endpoint: Endpoint, transport: PutMetricDataTransport
) -> None:
    before = descriptors()
    endpoint.answer = drips(b"", HEADERS)
    for _ in range(10):
        assert attempt(transport, deadline=0.2).code == "Overdue"
    # The endpoint's descriptors are in this process as well.
    wait_for(lambda: not threads("cloudwatch-attempt") and descriptors() <= before)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silent_endpoint_times_out(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(api, "CONNECT_TIMEOUT", 0.4)
    monkeypatch.setattr(api, "READ_TIMEOUT", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        opened = PutMetricDataTransport(
            "us-east-1", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        )
        for datums in ([DATUM], [DATUM] * 5000):
            outcome = attempt(opened, *datums, deadline=DEADLINE)
            assert outcome.verdict is Verdict.RETRY
            assert outcome.code in ("ReadTimeoutError", "ConnectTimeoutError", "Overdue")
            assert outcome.ambiguous == (outcome.code != "ConnectTimeoutError")
        opened.close()


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


def test_errors_leave_no_cycles() -> None:

    class Failure(Exception):
        pass

    def fail() -> None:
        raise Failure

    attempts: Attempts[None] = Attempts()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Failure):
            attempts.run(fail, 5)
        assert not [each for each in gc.get_objects() if isinstance(each, Failure)]
    finally:
        gc.enable()


def test_connection_is_reused(endpoint: Endpoint, transport: PutMetricDataTransport) -> None:
    before = descriptors()
    for _ in range(5):
        assert attempt(transport).verdict is Verdict.DELIVERED
        assert descriptors() == before
    assert endpoint.connections == 1


def test_changed_botocore_still_sends(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_session_of", lambda _: None)
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    assert attempt(opened).verdict is Verdict.DELIVERED
    endpoint.answer = lambda handler: respond(handler, 200, HTML)
    assert attempt(opened).code == "UnexpectedAnswer"
    opened.close()


class Agent(BaseHTTPRequestHandler):
    """A container agent whose credentials have to be renewed for each request."""

    silent = False

    def do_GET(self) -> None:
        """Respond, or wait until the client has disconnected."""
        if self.silent:
            self.rfile.read(1)
            return
        soon = datetime.now(UTC) + timedelta(minutes=5)
        names = ("AccessKeyId", "SecretAccessKey", "Token")
        role = dict.fromkeys(names, "found") | {"Expiration": soon.isoformat()}
        respond(self, 200, json.dumps(role))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_hang_before_signing_is_not_ambiguous(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving(Agent) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        opened = PutMetricDataTransport("us-east-1", endpoint.url)
        assert attempt(opened).verdict is Verdict.DELIVERED
        monkeypatch.setattr(Agent, "silent", True)
        for _ in range(2):  # with the client that has sent before, and with its replacement
            outcome = attempt(opened, deadline=DEADLINE)
            assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
            assert not outcome.ambiguous
        wait_for(lambda: not threads("cloudwatch-attempt"))
        opened.close()
    assert len(endpoint.requests) == 1


# Names


def test_unknown_host_is_retried() -> None:
    opened = PutMetricDataTransport("us-east-1", "http://monitoring.invalid")
    outcome = attempt(opened, deadline=10.0)
    opened.close()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code in ("EndpointConnectionError", "Overdue")
    assert outcome.ambiguous == (outcome.code == "Overdue")


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A resolver that hangs in a system call; returns a function that repairs it."""
    reading, writing = os.pipe()
    real = socket.getaddrinfo

    def hang(*arguments: Any, **more: Any) -> Any:
        os.read(reading, 1)  # no timeout, and no exception can be raised in it
        return real(*arguments, **more)

    def repair() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", real)
        os.write(writing, b"x" * 100)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield repair
    repair()
    wait_for(lambda: not threads("cloudwatch-attempt"))
    os.close(reading)
    os.close(writing)


def test_hanging_resolver_limits_stuck_threads(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, hanging_resolver: Callable[[], None]
) -> None:
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    for _ in range(MAX_STUCK):
        outcome = attempt(opened, deadline=2.0)  # it must reach the resolver
        assert outcome.code == "Overdue"
        assert outcome.ambiguous  # it is unknown how far the request came
    for _ in range(3):
        outcome = attempt(opened)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "TooManyHang")
        assert outcome.message == "4 earlier attempts are stuck, probably in a DNS lookup"
        assert not outcome.ambiguous
    assert len(threads("cloudwatch-attempt")) == MAX_STUCK

    hanging_resolver()
    wait_for(lambda: not threads("cloudwatch-attempt"))
    assert attempt(opened).verdict is Verdict.DELIVERED
    opened.close()
    assert len(endpoint.requests) == 1
