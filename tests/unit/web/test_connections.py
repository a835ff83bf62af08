"""Whoever comes in bad faith, or in great numbers, keeps nobody out and costs a bounded amount."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from neuron_exporter.web import Request, Response, Server
from neuron_exporter.web import connections as web
from neuron_exporter.web import server as serving
from tests.support.clients import Client, get
from tests.support.processes import threads
from tests.support.waiting import wait_for

HUGE = bytes(64 * 2**20)
"""More than two sockets hold between them."""

ROUTES = {"/": lambda _: Response(b"hello\n"), "/huge": lambda _: Response(HUGE)}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are as they are, and short, so that tests need not wait."""
    assert (web.MOST_CONNECTIONS, web.REQUEST_SECONDS) == (32, 10.0)
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 8)
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.4)
    monkeypatch.setattr(serving, "_SWEEP_SECONDS", 0.02)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that runs."""
    made = Server("127.0.0.1:0", ROUTES, lambda: None)
    made.start()
    yield made
    made.close()
    wait_for(lambda: threads("http", "http-worker") == [])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is cut off for being slow."""
    monkeypatch.setattr(web, "REQUEST_SECONDS", 60.0)


@pytest.fixture
def crowd(server: Server) -> Iterator[Crowd]:
    """Connections that are closed after the test."""
    with ExitStack() as stack:
        yield Crowd(server, stack)


class Crowd:
    """Opens connections."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack

    def one(self, sent: bytes = b"", *, receive_buffer: int | None = None) -> Client:
        """A connection that sent these bytes."""
        client = Client(self._server.port, receive_buffer=receive_buffer)
        self._stack.callback(client.close)
        client.send(sent)
        return client

    def kept(self) -> Client:
        """A connection that was answered and is idle now."""
        client = self.one()
        assert client.get("/").status == 200
        return client


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_half_open_connections_keep_nobody_out(server: Server, crowd: Crowd, sent: bytes) -> None:
    """Among 200 connections that say half a word, a scrape is answered at once, every time."""
    most = 0
    for number in range(200):
        crowd.one(sent)
        if number % 20 == 0:
            before = time.monotonic()
            assert get(server.port).body == b"hello\n"
            assert time.monotonic() - before < 1
            most = max(most, len(threads("http-worker")))

    assert most <= 8


@pytest.mark.usefixtures("patient")
def test_a_newcomer_displaces_the_one_that_waited_longest(server: Server, crowd: Crowd) -> None:
    """Where all places are taken, the longest silence ends, whatever it is in the middle of."""
    half = crowd.one(b"GET /")
    wait_for(lambda: threads("http-worker"))
    rest = []
    for _ in range(7):
        time.sleep(0.01)
        rest.append(crowd.kept())
    rest[0].get("/")  # it has spoken since

    assert get(server.port).status == 200
    assert half.closed()
    wait_for(lambda: len(threads("http-worker")) == 7)

    newcomers = [crowd.kept() for _ in range(2)]  # one has a free place
    assert rest[1].closed()
    others = [rest[0], *rest[2:], *newcomers]
    assert [each.get("/").status for each in others] == [200] * 8


def test_idle_connections_are_kept(server: Server, crowd: Crowd) -> None:
    """A client that asked and waits is not cut off with those that never finish a request."""
    idle = crowd.kept()
    silent = crowd.one()
    assert silent.closed()
    time.sleep(0.2)

    assert idle.get("/").status == 200


def test_idle_connections_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch, crowd: Crowd
) -> None:
    """A client that does not come back is given up."""
    assert web.IDLE_SECONDS == 300
    monkeypatch.setattr(web, "IDLE_SECONDS", 0.2)
    idle = crowd.kept()

    assert idle.closed()


@pytest.mark.parametrize("after_another", [False, True])
def test_a_client_that_drips_is_cut_off(crowd: Crowd, after_another: bool) -> None:
    """A request has one deadline for all of it: a byte now and then does not put it off."""
    client = crowd.kept() if after_another else crowd.one()
    before = time.monotonic()
    for byte in b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 10_000:
        try:
            client.send(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(0.02)

    assert 0.2 < time.monotonic() - before < 5


def test_a_slow_reader_is_cut_off(crowd: Crowd) -> None:
    """Whoever asks for much and does not take it is cut off at the same deadline."""
    client = crowd.one(b"GET /huge HTTP/1.1\r\n\r\n", receive_buffer=4096)
    wait_for(lambda: threads("http-worker"))
    wait_for(lambda: threads("http-worker") == [], 5)

    received = 0
    with suppress(ConnectionResetError):
        while chunk := client.socket.recv(2**20):
            received += len(chunk)
    assert received < len(HUGE)


@pytest.mark.usefixtures("patient")
def test_slow_readers_keep_nobody_out(
    monkeypatch: pytest.MonkeyPatch, server: Server, crowd: Crowd
) -> None:
    """A client that does not take its answer waits like any other, and makes room for newcomers."""
    monkeypatch.setattr(web, "_WRITE_SECONDS", 0.1)
    for _ in range(8):
        crowd.one(b"GET /huge HTTP/1.1\r\n\r\n", receive_buffer=4096)
    wait_for(lambda: len(threads("http-worker")) == 8)

    for _ in range(3):
        time.sleep(0.15)
        assert get(server.port).body == b"hello\n"


@pytest.mark.usefixtures("patient")
def test_a_reader_in_time_gets_everything(server: Server) -> None:
    """A large answer that is taken arrives whole."""
    assert get(server.port, "/huge").body == HUGE


@pytest.mark.usefixtures("patient")
def test_an_answer_under_way_is_not_displaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of newcomers does not break off those that are being answered."""
    server = Server("127.0.0.1:0", {"/": _slowly}, lambda: None)
    server.start()
    try:
        with ExitStack() as stack:
            asking = stack.enter_context(Client(server.port))
            asking.request("/")
            for _ in range(30):
                stack.enter_context(Client(server.port))

            assert asking.answer().body == b"done\n"
    finally:
        server.close()


def _slowly(_: Request) -> Response:
    time.sleep(0.3)
    return Response(b"done\n")


@pytest.mark.usefixtures("patient")
def test_headers_have_a_limit_together(server: Server, crowd: Crowd) -> None:
    """Clients that send header after header are refused before they fill the memory."""
    header = b"X: " + b"x" * 40_000 + b"\r\n"
    client = crowd.one(b"GET / HTTP/1.1\r\n" + header + header)

    assert client.answer()[::2] == (431, b"Line too long\n")
    assert get(server.port, "/", Large="x" * 60_000).status == 200
