"""Limits on connections: hostile or numerous clients cannot block others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from neuron_exporter.web import Request, Response, Server, connections
from neuron_exporter.web import server as web_server
from tests.support.clients import Client, get
from tests.support.connections import Clients, running_server, set_limits, short_timeout
from tests.support.processes import threads
from tests.support.waiting import wait_for

HUGE = bytes(64 * 2**20)
"""More than the buffers of two sockets can hold."""

ROUTES = {"/": lambda _: Response(b"hello\n"), "/huge": lambda _: Response(HUGE)}


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow few connections, but slow requests."""
    set_limits(monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server."""
    with running_server(ROUTES) as running:
        yield running


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    """Open connections that are closed after the test."""
    with ExitStack() as stack:
        yield Clients(server, stack)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_half_open_connections(server: Server, clients: Clients, sent: bytes) -> None:
    """Among 200 incomplete requests, every scrape is answered."""
    workers = 0
    for number in range(200):
        clients.connect(sent)
        if number % 20 == 0:
            assert get(server.port).body == b"hello\n"
            workers = max(workers, len(threads("http-worker")))

    assert workers <= 8


def test_longest_waiting_is_displaced(server: Server, clients: Clients) -> None:
    half = clients.connect(b"GET /")
    wait_for(lambda: threads("http-worker"))
    rest = []
    for _ in range(7):
        rest.append(clients.connect_idle())
    rest[0].get("/")  # waits for less time than the others now

    assert get(server.port).status == 200
    assert half.closed()
    wait_for(lambda: len(threads("http-worker")) == 7)

    newcomers = [clients.connect_idle() for _ in range(2)]  # the first one uses the free slot
    assert rest[1].closed()
    others = [rest[0], *rest[2:], *newcomers]
    assert [each.get("/").status for each in others] == [200] * 8


def test_idle_timeout(monkeypatch: pytest.MonkeyPatch, clients: Clients) -> None:
    assert connections.IDLE_TIMEOUT == 300
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 0.2)
    idle = clients.connect_idle()

    assert idle.closed()


@pytest.mark.parametrize("after_another", [False, True])
def test_slow_request(clients: Clients, after_another: bool) -> None:
    """A request has one deadline, however often the client sends a byte."""
    idle = clients.connect_idle() if after_another else None
    with short_timeout():
        started = time.monotonic()
        client = idle or clients.connect()
        for byte in b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 10_000:
            try:
                client.send(bytes([byte]))
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(0.02)
        else:
            pytest.fail("the connection was not aborted")
    assert time.monotonic() - started > 0.2


@pytest.fixture
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "_MAX_WAIT", 3600)


@pytest.mark.usefixtures("_long_waits")
def test_request_timeout_ends_the_wait(clients: Clients) -> None:
    """The thread that accepts wakes up for a deadline, and for the end of the server."""
    with short_timeout():
        assert clients.connect(b"GET / HT").closed()


def test_deadlines_during_a_wait_end_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that accepts need not be woken up for a request on an idle connection."""
    monkeypatch.undo()
    assert web_server._MAX_WAIT <= connections.REQUEST_TIMEOUT <= connections.IDLE_TIMEOUT


@pytest.mark.usefixtures("_long_waits")
def test_request_past_its_deadline_costs_no_wakeups() -> None:
    """A connection is aborted once, although its request goes on."""
    ticks = []
    release = threading.Event()

    def hang(_: Request) -> Response:
        release.wait(60)
        return Response(b"late\n")

    server = Server(
        "127.0.0.1:0", {"/": lambda _: Response(b"hello\n"), "/hang": hang}, lambda: ticks.append(1)
    )
    server.start()
    try:
        with short_timeout(), Client(server.port) as client:
            client.request("/hang")
            assert client.closed()
            before = len(ticks)
            for _ in range(5):
                assert get(server.port).body == b"hello\n"
            assert len(ticks) - before < 50
    finally:
        release.set()
        server.close()


def test_slow_reader_is_aborted(clients: Clients) -> None:
    with short_timeout():
        client = clients.connect(b"GET /huge HTTP/1.0\r\n\r\n", receive_buffer=4096)
        wait_for(lambda: threads("http-worker"))
        wait_for(lambda: threads("http-worker") == [])

    received = 0
    with suppress(ConnectionResetError):
        while chunk := client.socket.recv(2**20):
            received += len(chunk)
    assert received < len(HUGE)


def test_slow_readers_are_displaced(
    monkeypatch: pytest.MonkeyPatch, server: Server, clients: Clients
) -> None:
    monkeypatch.setattr(connections, "_WRITE_GRACE", 0.1)
    for _ in range(8):
        clients.connect(b"GET /huge HTTP/1.0\r\n\r\n", receive_buffer=4096)
    wait_for(lambda: len(threads("http-worker")) == 8)

    for _ in range(3):
        assert get(server.port).body == b"hello\n"


def test_large_response(server: Server) -> None:
    assert get(server.port, "/huge").body == HUGE


def test_processing_is_not_displaced() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        started.set()
        release.wait(60)
        return Response(b"done\n")

    server = Server("127.0.0.1:0", {"/": slow}, lambda: None)
    server.start()
    try:
        with ExitStack() as stack:
            waiting = stack.enter_context(Client(server.port))
            waiting.request("/")
            assert started.wait(60)
            for _ in range(30):
                stack.enter_context(Client(server.port))
            release.set()
            assert waiting.read_response().body == b"done\n"
    finally:
        server.close()


def test_header_limit(server: Server, clients: Clients) -> None:
    """All headers of a request share one limit."""
    header = b"X: " + b"x" * 40_000 + b"\r\n"
    client = clients.connect(b"GET / HTTP/1.1\r\n" + header + header)

    assert client.read_response()[::2] == (431, b"Line too long\n")
    assert get(server.port, "/", Large="x" * 60_000).status == 200
