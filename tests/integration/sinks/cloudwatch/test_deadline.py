"""Whatever an endpoint or a resolver does, an attempt ends in time and the next one is free."""

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
from neuron_exporter.sinks.cloudwatch.put_metric_data import Api
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.sinks.delivery.deadline import MOST_LEFT, Attempts
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
PATIENCE = 0.8
SLACK = 3.0
"""Seconds that a busy machine may take besides; what is not bounded takes ten and more."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, nobodys_credentials: None) -> None:
    """Credentials of nobody, and times short enough for a test."""
    monkeypatch.setattr(api, "CONNECT_TIMEOUT", 0.4)
    monkeypatch.setattr(api, "READ_TIMEOUT", 0.4)
    monkeypatch.setattr(api, "ATTEMPT_SECONDS", PATIENCE)


@pytest.fixture
def transport(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A transport to it, which has made its client already."""
    opened = Api("us-east-1", endpoint.url)
    with monkeypatch.context() as patient:
        patient.setattr(api, "ATTEMPT_SECONDS", 10.0)
        assert opened.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    yield opened
    opened.close()


def timed(transport: Api, datums: list[Any] | None = None) -> tuple[Outcome, float]:
    """What became of an attempt, and how long it took."""
    started = time.monotonic()
    return transport.send("NeuronExporter", datums or [DATUM]), time.monotonic() - started


def drips(fast: bytes, slow: bytes) -> Answer:
    """An answer of which a part comes a byte at a time, each before any single read is over."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(fast)
        for byte in slow:
            handler.wfile.write(bytes((byte,)))
            time.sleep(0.1)

    return respond_so


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "given",
    [
        drips(b"", HEADERS),
        drips(b"HTTP/1.1 200 OK\r\n", b"X-Waste: " + b"x" * 5000),
        drips(HEADERS, b"{" + b" " * 2000),
        drips(CHUNKS, b"1\r\n \r\n" * 1000),
        drips(CHUNKS, b"0" * 5000),
    ],
    ids=["status", "header", "body", "chunks", "length of a chunk"],
)
def test_a_slow_drip_ends_with_the_attempt(
    endpoint: Endpoint, transport: Api, given: Answer
) -> None:
    """A byte now and then defeats a timeout for each read; the whole attempt has a deadline, its
    thread ends, and the next attempt finds the endpoint that has recovered."""
    endpoint.answer = given
    outcome, took = timed(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
    assert outcome.message == "not over after 0.8 s"
    assert outcome.ambiguous
    assert PATIENCE <= took < PATIENCE + SLACK
    wait_for(lambda: not threads("cloudwatch-attempt"), 2)

    endpoint.answer = accept
    assert timed(transport)[0].verdict is Verdict.DELIVERED


def test_attempts_that_were_broken_off_leave_nothing_open(
    endpoint: Endpoint, transport: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often an attempt is broken off, no descriptor and no thread stays."""
    monkeypatch.setattr(api, "ATTEMPT_SECONDS", 0.2)
    before = descriptors()
    endpoint.answer = drips(b"", HEADERS)
    for _ in range(10):
        assert timed(transport)[0].code == "Overdue"
    # What the endpoint holds is in this process, too.
    wait_for(lambda: not threads("cloudwatch-attempt") and descriptors() <= before, 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_endpoint_that_accepts_and_says_nothing_is_left(scheme: str) -> None:
    """Neither a request nor a handshake that nobody answers holds an attempt up; 1 MB that nobody
    reads neither."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        opened = Api("us-east-1", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        for datums in ([DATUM], [DATUM] * 5000):
            outcome, took = timed(opened, datums)
            assert outcome.verdict is Verdict.RETRY
            assert outcome.code in ("ReadTimeoutError", "ConnectTimeoutError", "Overdue")
            assert outcome.ambiguous == (outcome.code != "ConnectTimeoutError")
            assert took < PATIENCE + SLACK
        opened.close()


def garbled(*parts: bytes, reset: bool = False) -> Answer:
    """An answer of these bytes, and the end, in order or by a reset."""

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
    """An answer of these bytes, after which nothing comes and nothing ends."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
        handler.rfile.read(1)  # until we have left

    return respond_so


@pytest.mark.parametrize(
    "given",
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
def test_garbage_and_resets_are_tried_again(
    endpoint: Endpoint, transport: Api, given: Answer
) -> None:
    """An answer that is none never counts as delivered, and may be the loss of a good one; the next
    attempt is as good as any."""
    endpoint.answer = given
    outcome, took = timed(transport)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.ambiguous == (outcome.code != "999")  # a status that refuses, whoever says it
    assert took < PATIENCE + SLACK
    endpoint.answer = accept
    assert timed(transport)[0].verdict is Verdict.DELIVERED


HTML = "<!DOCTYPE html><html><body>Please log in to use this network</body></html>"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda handler: respond(handler, 200, HTML), "no answer of CloudWatch: '<!DOCTYPE html"),
        (lambda handler: respond(handler, 200, "OK"), "no answer of CloudWatch: 'OK'"),
        (lambda handler: respond(handler, 200, "[]"), "no answer of CloudWatch: '[]'"),
        (garbled(HEADERS, b"{}"), "broke off after 2 of 2000 bytes"),
        (garbled(HEADERS), "broke off after 0 of 2000 bytes"),
        (garbled(CHUNKS, b"1\r\n{\r\n0\r\n\r\n"), "no answer of CloudWatch: '{'"),
    ],
    ids=["a page", "text", "another document", "cut off", "cut off at once", "half"],
)
def test_a_success_that_is_not_cloudwatchs_is_no_success(
    endpoint: Endpoint, transport: Api, given: Answer, reason: str
) -> None:
    """The page of a proxy has status 200; what it was sent is sent again."""
    endpoint.answer = given
    outcome, _ = timed(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert reason in outcome.message
    assert outcome.ambiguous


@pytest.mark.parametrize("text", ["{}", "", ' {"a": 1}\n'])
def test_every_answer_of_cloudwatch_is_a_success(
    endpoint: Endpoint, transport: Api, text: str
) -> None:
    """An object, whatever a later version puts into it, or nothing."""
    endpoint.answer = lambda handler: respond(handler, 200, text)
    assert timed(transport)[0].verdict is Verdict.DELIVERED


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKS], ids=["body", "chunk"])
def test_an_answer_without_end_is_not_read_to_its_end(
    endpoint: Endpoint, transport: Api, beginning: bytes
) -> None:
    """Whoever answers gigabytes takes no memory from us."""

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        with suppress(OSError):
            while True:
                handler.wfile.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")

    endpoint.answer = flood
    tracemalloc.start()
    outcome, took = timed(transport)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "UnexpectedAnswer")
    assert "longer than" in outcome.message
    assert outcome.ambiguous
    assert most < 10 * 2**20
    assert took < PATIENCE


def test_an_error_is_forgotten_with_its_attempt() -> None:
    """An outage of hours leaves no errors behind for a collector that runs rarely."""

    class Failure(Exception):
        pass

    def fail() -> None:
        raise Failure

    attempts: Attempts[None] = Attempts()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Failure):
            attempts.make(fail, 5)
        assert not [each for each in gc.get_objects() if isinstance(each, Failure)]
    finally:
        gc.enable()


def test_a_kept_connection_is_used_again(endpoint: Endpoint, transport: Api) -> None:
    """Reading an answer with a bound costs no new connection, and no new handshake."""
    before = descriptors()
    for _ in range(5):
        assert timed(transport)[0].verdict is Verdict.DELIVERED
        assert descriptors() == before
    assert endpoint.connections == 1


def test_a_botocore_that_has_changed_sends_by_itself(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should its inside not be found, requests go out as before, and answers are verified."""
    monkeypatch.setattr(answer, "_session_of", lambda _: None)
    opened = Api("us-east-1", endpoint.url)
    assert timed(opened)[0].verdict is Verdict.DELIVERED
    endpoint.answer = lambda handler: respond(handler, 200, HTML)
    assert timed(opened)[0].code == "UnexpectedAnswer"
    opened.close()


class Agent(BaseHTTPRequestHandler):
    """Gives credentials that are to be renewed for each request, as a container's agent does."""

    silent = False

    def do_GET(self) -> None:
        """Answer, or wait until the other has left."""
        if self.silent:
            self.rfile.read(1)
            return
        soon = datetime.now(UTC) + timedelta(minutes=5)
        names = ("AccessKeyId", "SecretAccessKey", "Token")
        role = dict.fromkeys(names, "found") | {"Expiration": soon.isoformat()}
        respond(self, 200, json.dumps(role))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_attempt_that_hangs_before_its_request_delivered_nothing(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was never signed cannot count twice: the look-up of credentials is before that, whether
    or not the same client has sent before."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving(Agent) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        opened = Api("us-east-1", endpoint.url)
        assert timed(opened)[0].verdict is Verdict.DELIVERED
        monkeypatch.setattr(Agent, "silent", True)
        for _ in range(2):  # by the client that has sent, and by the one after it
            outcome, _ = timed(opened)
            assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
            assert not outcome.ambiguous
        wait_for(lambda: not threads("cloudwatch-attempt"), 10)
        opened.close()
    assert len(endpoint.requests) == 1


# Names


def test_a_name_that_does_not_exist_may_exist_later() -> None:
    """A look-up that fails is a trouble of now, and ends in time."""
    opened = Api("us-east-1", "http://monitoring.invalid")
    outcome, took = timed(opened)
    opened.close()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code in ("EndpointConnectionError", "Overdue")
    assert outcome.ambiguous == (outcome.code == "Overdue")
    assert took < PATIENCE + SLACK


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A resolver that hangs in the system, as one behind a daemon that died; gives its repair."""
    reading, writing = os.pipe()
    real = socket.getaddrinfo

    def hang(*arguments: Any, **more: Any) -> Any:
        os.read(reading, 1)  # as the system's own: no timeout, and no exception gets in
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


def test_a_resolver_that_hangs_holds_few_threads_and_no_attempt(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, deaf: Callable[[], None]
) -> None:
    """What hangs in the system is left there, four times; then attempts fail at once, until the
    resolver lives: then they are delivered again, and none of the old ones is."""
    opened = Api("us-east-1", endpoint.url)
    for _ in range(MOST_LEFT):
        outcome, took = timed(opened)
        assert outcome.code == "Overdue"
        assert outcome.ambiguous  # nothing tells how far a request has come
        assert took < PATIENCE + SLACK
    for _ in range(3):
        outcome, took = timed(opened)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "TooManyHang")
        assert outcome.message == "4 attempts before hang, maybe in looking up its name"
        assert not outcome.ambiguous
        assert took < 0.5
    assert len(threads("cloudwatch-attempt")) == MOST_LEFT

    deaf()
    wait_for(lambda: not threads("cloudwatch-attempt"))
    assert timed(opened)[0].verdict is Verdict.DELIVERED
    opened.close()
    assert len(endpoint.requests) == 1
