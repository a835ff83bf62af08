"""An attempt ends in time and does not block the next, whatever endpoint and resolver do."""

from __future__ import annotations

import gc
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch import response as answer
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery import aws_session
from neuron_exporter.sinks.delivery.deadline import MAX_STUCK, Attempts
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import CHUNKS, DATUM, HEADERS, attempt, overdue
from tests.support.endpoint import Answer, Endpoint, accept, respond
from tests.support.http import serving
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

DEADLINE = 0.8
HTML = "<!DOCTYPE html><html><body>Please log in to use this network</body></html>"

pytestmark = pytest.mark.usefixtures("fake_credentials")


def drips(fast: bytes, slow: bytes) -> Answer:
    """Return a responder that sends a part byte by byte, each before a read times out."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(fast)
        for byte in slow:
            handler.wfile.write(bytes((byte,)))
            time.sleep(0.1)

    return respond_so


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
    outcome, deadline = overdue(transport, lambda: len(endpoint.requests), DEADLINE)
    assert time.monotonic() - started >= deadline
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
    assert outcome.message == f"no result after {deadline:g} s"
    assert outcome.ambiguous
    wait_for(lambda: not threads("cloudwatch-attempt"))

    endpoint.answer = accept
    assert attempt(transport).verdict is Verdict.DELIVERED


# An attempt that is aborted while it connects drops its socket, which Python closes with a warning.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(socket|function Weak):pytest.PytestUnraisableExceptionWarning"
)
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
    monkeypatch.setattr(aws_session, "CONNECT_TIMEOUT", 0.4)
    monkeypatch.setattr(aws_session, "READ_TIMEOUT", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        opened = PutMetricDataTransport(
            "us-east-1", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        )
        for datums in ([DATUM], [DATUM] * 5000):
            outcome = attempt(opened, *datums)
            assert outcome.verdict is Verdict.RETRY
            assert outcome.code in ("ReadTimeoutError", "ConnectTimeoutError")
            assert outcome.ambiguous == (outcome.code != "ConnectTimeoutError")
        opened.close()


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
        assert descriptors() <= before
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


class HangingResolver:
    """A resolver that hangs in a system call until it is repaired."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._monkeypatch = monkeypatch
        self._real = socket.getaddrinfo
        self._reading, self._writing = os.pipe()
        monkeypatch.setattr(socket, "getaddrinfo", self._hang)

    def _hang(self, *arguments: Any, **more: Any) -> Any:
        self.calls += 1
        os.read(self._reading, 1)  # no timeout, and no exception can be raised in it
        return self._real(*arguments, **more)

    def repair(self) -> None:
        """Let all calls end, and later ones not hang."""
        self._monkeypatch.setattr(socket, "getaddrinfo", self._real)
        os.write(self._writing, b"x" * 100)

    def close(self) -> None:
        """Repair it, and wait until no thread uses it."""
        self.repair()
        wait_for(lambda: not threads("cloudwatch-attempt"))
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingResolver]:
    """A resolver that hangs."""
    with closing(HangingResolver(monkeypatch)) as hanging:
        yield hanging


def test_hanging_resolver_limits_stuck_threads(
    endpoint: Endpoint, resolver: HangingResolver
) -> None:
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    for _ in range(MAX_STUCK):
        outcome, _ = overdue(opened, lambda: resolver.calls, DEADLINE)
        assert outcome.code == "Overdue"
        assert outcome.ambiguous  # it is unknown how far the request came
    for _ in range(3):
        outcome = attempt(opened)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "TooManyHang")
        assert outcome.message == "4 earlier attempts are stuck, probably in a DNS lookup"
        assert not outcome.ambiguous
    assert len(threads("cloudwatch-attempt")) == MAX_STUCK

    resolver.repair()
    wait_for(lambda: not threads("cloudwatch-attempt"))
    assert attempt(opened).verdict is Verdict.DELIVERED
    opened.close()
    assert len(endpoint.requests) == 1
