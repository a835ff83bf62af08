"""What the HTTP server answers, and to whom."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from neuron_exporter.web import BindError, Request, Response, Server
from neuron_exporter.web import server as web
from tests.support.clients import Client, get
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

LARGE = b"0123456789abcdef" * 1000


def fail(_: Request) -> Response:
    """A route with an error in it."""
    raise ValueError("broken")


ROUTES = {
    "/": lambda _: Response(b"hello\n"),
    "/parts": lambda _: Response((b"one ", b"", b"two")),
    "/large": lambda _: Response(LARGE, "text/x-large"),
    "/sick": lambda _: Response(b"ill\n", status=503),
    "/agent": lambda request: Response(request.headers["User-Agent"].encode()),
    "/same": lambda _: Response(b"", status=304, headers={"ETag": '"1"'}),
    "/fail": fail,
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks around often, so that it closes soon."""
    monkeypatch.setattr(web, "_SWEEP_SECONDS", 0.02)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that runs, and of which nothing is left after."""
    before = descriptors()
    made = Server("127.0.0.1:0", ROUTES, lambda: None)
    made.start()
    yield made
    made.close()
    wait_for(lambda: threads("http", "http-worker") == [])
    wait_for(lambda: descriptors() == before)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection to the server."""
    with Client(server.port) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/", 200, "text/plain; charset=utf-8", b"hello\n"),
        ("/?query=1", 200, "text/plain; charset=utf-8", b"hello\n"),
        ("/parts", 200, "text/plain; charset=utf-8", b"one two"),
        ("/large", 200, "text/x-large", LARGE),
        ("/sick", 503, "text/plain; charset=utf-8", b"ill\n"),
    ],
)
def test_a_route_is_answered(
    client: Client, path: str, status: int, kind: str, body: bytes
) -> None:
    """GET gives what the route gives; HEAD gives the same without the body."""
    answer = client.get(path)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Length"] == str(len(body))

    head = client.get(path, "HEAD")
    assert head.status == status
    assert {**head.headers, "Date": ""} == {**answer.headers, "Date": ""}
    assert client.get("/").body == b"hello\n"


def test_a_route_sees_the_headers(client: Client) -> None:
    """A route may look at what the client says."""
    assert client.get("/agent", User_Agent="me/1").body == b"me/1"


@pytest.mark.parametrize("path", ["/nothing", "/parts/", "/%2e", "*"])
def test_what_is_not_there_lists_what_is(client: Client, path: str) -> None:
    """An unknown path is answered with those that are known."""
    answer = client.get(path)

    assert answer.status == 404
    assert answer.body == b"not found; there are /, /agent, /fail, /large, /parts, /same, /sick\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    """Only GET and HEAD are for us, which is told."""
    answer = client.get("/", method)

    assert (answer.status, answer.body) == (405, b"only GET and HEAD\n")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert client.closed()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/one\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1 and more\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200, 431),
    ],
    ids=["word", "version", "http2", "tls", "words", "long path", "long header", "many headers"],
)
def test_garbage_is_refused(client: Client, server: Server, data: bytes, status: int) -> None:
    """What is no request gets an answer in plain text, and its connection is closed."""
    client.send(data)
    answer = client.answer()

    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Connection"] == "close"
    assert get(server.port).status == 200


@pytest.mark.parametrize("data", [b"\r\n", b"\0", b"GET", b"GET / HTTP/1.1\r\nHost"])
def test_a_client_that_leaves_early_leaves_nothing(server: Server, data: bytes) -> None:
    """A connection that is dropped in the middle of a request is forgotten."""
    with Client(server.port) as client:
        client.send(data)
    wait_for(lambda: threads("http-worker") == [])

    assert get(server.port).status == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("identity", False),
        ("br, x-gzipped", False),
        ("", False),
    ],
)
def test_a_large_body_is_compressed_where_that_is_accepted(
    client: Client, accepted: str, packed: bool
) -> None:
    """Accept-Encoding is honoured, refusals included; a small body is never worth it."""
    answer = client.get("/large", Accept_Encoding=accepted)
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    if packed:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == LARGE
        assert len(answer.body) < len(LARGE) / 10
    else:
        assert "Content-Encoding" not in answer.headers
        assert answer.body == LARGE

    assert "Content-Encoding" not in client.get("/", Accept_Encoding=accepted).headers


@pytest.mark.parametrize("path", ["/", "/nothing", "/fail", "/sick"])
def test_every_answer_protects_its_reader(client: Client, path: str) -> None:
    """No answer may be guessed at, run scripts, be framed with them, or be kept."""
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


def test_what_has_not_changed_is_told_without_a_body(server: Server) -> None:
    """An answer 304 has the route's header, no length and no body, and the connection goes on."""
    with Client(server.port) as client:
        client.send(b"GET /same HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        said = client.rest()
    first, _, second = said.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b'ETag: "1"' in first
    assert b"Content-Length" not in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_is_kept(client: Client, server: Server) -> None:
    """Requests follow each other on one connection, and cost one thread."""
    for _ in range(50):
        answer = client.get("/")
        assert answer.body == b"hello\n"
        assert "Connection" not in answer.headers

    assert threads("http-worker") == ["http-worker"]
    assert client.get("/", Connection="close").headers["Connection"] == "close"
    assert client.closed()


def test_an_old_client_is_served(client: Client) -> None:
    """HTTP/1.0 gets its answer, and the end of its connection."""
    client.send(b"GET / HTTP/1.0\r\n\r\n")

    assert client.answer().body == b"hello\n"
    assert client.closed()


def test_requests_may_be_sent_ahead(client: Client) -> None:
    """Pipelined requests are answered in their order, also those cut anywhere."""
    for path in ("/", "/large", "/nothing", "/fail"):
        client.request(path)
    client.send(b"GET /par")

    assert [client.answer().status for _ in range(4)] == [200, 200, 404, 500]
    client.send(b"ts HTTP/1.1\r\n\r\n")
    assert client.answer().body == b"one two"


def test_the_body_of_a_request_is_no_request(client: Client) -> None:
    """A request cannot be hidden in another one's body, behind a proxy that sees one."""
    hidden = "GET /nothing HTTP/1.1\r\n\r\n"
    client.send(f"GET / HTTP/1.1\r\nContent-Length: {len(hidden)}\r\n\r\n{hidden}".encode())

    assert client.answer().status == 200
    assert client.closed()


def test_a_failing_route_fails_alone(client: Client, server: Server) -> None:
    """An error in a route is a 500 without details; its connection and the server live on."""
    answer = client.get("/fail")

    assert (answer.status, answer.body) == (500, b"internal error\n")
    assert client.get("/").status == 200
    assert get(server.port).status == 200


@pytest.mark.parametrize(
    ("listen", "url", "host"),
    [
        ("127.0.0.1:0", "http://127.0.0.1:", "127.0.0.1"),
        ("0.0.0.0:0", "http://127.0.0.1:", "127.0.0.1"),
        (":0", "http://127.0.0.1:", "127.0.0.1"),
        ("localhost:0", "http://127.0.0.1:", "127.0.0.1"),
        ("[::1]:0", "http://[::1]:", "::1"),
        ("[::]:0", "http://[::1]:", "::1"),
    ],
)
def test_it_listens_where_it_is_told_to(listen: str, url: str, host: str) -> None:
    """Addresses of both kinds work, and the server tells where this machine reaches it."""
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = Server(listen, ROUTES, lambda: None)
    server.start()
    try:
        with Client(server.port, host=host) as client:
            assert client.get("/").status == 200
        assert server.url == f"{url}{server.port}"
    finally:
        server.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("127.0.0.1:{taken}", "Address already in use"),
        ("192.0.2.1:0", "Cannot assign requested address"),
        ("no.such.host.invalid:0", ""),
        ("127.0.0.1:70000", "bind(): port must be 0-65535."),
        ("nul\0:0", ""),
    ],
)
def test_an_address_that_cannot_be_had_is_an_error(
    server: Server, listen: str, reason: str
) -> None:
    """The error names the address and the reason, and leaves no socket behind."""
    listen = listen.format(taken=server.port)
    before = descriptors()

    with pytest.raises(BindError) as caught:
        Server(listen, ROUTES, lambda: None)

    assert str(caught.value).startswith(f"cannot listen on {listen}: {reason}")
    assert descriptors() == before


def test_close_breaks_off_what_is_under_way() -> None:
    """A close waits for nobody: not for idle, half-open or answering connections."""
    answering, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        answering.set()
        release.wait(30)
        return Response(b"late\n")

    other = Server("127.0.0.1:0", {"/slow": slow, "/": ROUTES["/"]}, lambda: None)
    other.start()
    with Client(other.port) as idle, Client(other.port) as half, Client(other.port) as waiting:
        idle.get("/")
        half.send(b"GET / HT")
        waiting.request("/slow")
        assert answering.wait(10)
        before = time.monotonic()
        other.close()
        assert time.monotonic() - before < 2

        assert idle.closed()
        assert half.closed()
        assert waiting.closed()
        release.set()
    with pytest.raises(ConnectionRefusedError):
        Client(other.port)


def test_it_ticks_and_its_death_is_told() -> None:
    """The thread that accepts says that it lives, and why it died."""
    deaths: list[BaseException | None] = []
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 3:
            raise RuntimeError("no more")

    server = Server("127.0.0.1:0", ROUTES, tick)
    server.on_death = deaths.append
    server.start()
    wait_for(lambda: deaths)
    server.close()

    assert repr(deaths[0]) == "RuntimeError('no more')"
    assert all(after - before < 2 for before, after in pairwise(ticks))
