"""Responses of the HTTP server."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator

import pytest

from neuron_exporter.web import BindError, Request, Response, Server
from tests.support.clients import Client, get
from tests.support.network import has_ipv6
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

LARGE = b"0123456789abcdef" * 1000


def fail(_: Request) -> Response:
    """Raise an exception, as a faulty route does."""
    raise ValueError("broken")


ROUTES = {
    "/": lambda _: Response(b"hello\n"),
    "/parts": lambda _: Response((b"one ", b"", b"two")),
    "/large": lambda _: Response(LARGE, "text/x-large"),
    "/unavailable": lambda _: Response(b"not now\n", status=503),
    "/agent": lambda request: Response(request.headers["User-Agent"].encode()),
    "/same": lambda _: Response(b"", status=304, headers={"ETag": '"1"'}),
    "/fail": fail,
}


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server; check that no thread or descriptor is left."""
    wait_for(lambda: threads("http", "http-worker") == [])  # of another test
    before = descriptors()
    running = Server("127.0.0.1:0", ROUTES, lambda: None)
    running.start()
    yield running
    running.close()
    wait_for(lambda: threads("http", "http-worker") == [])
    wait_for(lambda: descriptors() <= before)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Open a connection to the server."""
    with Client(server.port) as connection:
        yield connection


@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/", 200, "text/plain; charset=utf-8", b"hello\n"),
        ("/?query=1", 200, "text/plain; charset=utf-8", b"hello\n"),
        ("/parts", 200, "text/plain; charset=utf-8", b"one two"),
        ("/large", 200, "text/x-large", LARGE),
        ("/unavailable", 503, "text/plain; charset=utf-8", b"not now\n"),
    ],
)
def test_route(client: Client, path: str, status: int, kind: str, body: bytes) -> None:
    """HEAD returns the same headers as GET, without the body."""
    response = client.get(path)
    assert (response.status, response.body) == (status, body)
    assert response.headers["Content-Type"] == kind
    assert response.headers["Content-Length"] == str(len(body))

    head = client.get(path, "HEAD")
    assert head.status == status
    assert {**head.headers, "Date": ""} == {**response.headers, "Date": ""}
    assert client.get("/").body == b"hello\n"


def test_request_headers(client: Client) -> None:
    assert client.get("/agent", User_Agent="me/1").body == b"me/1"


@pytest.mark.parametrize("path", ["/nothing", "/parts/", "/%2e", "*"])
def test_unknown_path_lists_routes(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status == 404
    assert (
        response.body
        == b"not found; available: /, /agent, /fail, /large, /parts, /same, /unavailable\n"
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_unsupported_methods(client: Client, method: str) -> None:
    response = client.get("/", method)

    assert (response.status, response.body) == (405, b"only GET and HEAD are supported\n")
    assert response.headers["Allow"] == "GET, HEAD"
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
def test_invalid_requests(client: Client, server: Server, data: bytes, status: int) -> None:
    client.send(data)
    response = client.read_response()

    assert response.status == status
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["Connection"] == "close"
    assert get(server.port).status == 200


@pytest.mark.parametrize("data", [b"\r\n", b"\0", b"GET", b"GET / HTTP/1.1\r\nHost"])
def test_aborted_request(server: Server, data: bytes) -> None:
    with Client(server.port) as client:
        client.send(data)
    wait_for(lambda: threads("http-worker") == [])

    assert get(server.port).status == 200


@pytest.mark.parametrize(
    ("accepted", "compressed"),
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
def test_compression(client: Client, accepted: str, compressed: bool) -> None:
    response = client.get("/large", Accept_Encoding=accepted)
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    if compressed:
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(response.body) == LARGE
        assert len(response.body) < len(LARGE) / 10
    else:
        assert "Content-Encoding" not in response.headers
        assert response.body == LARGE

    assert "Content-Encoding" not in client.get("/", Accept_Encoding=accepted).headers


@pytest.mark.parametrize("path", ["/", "/nothing", "/fail", "/unavailable"])
def test_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


def test_not_modified(server: Server) -> None:
    """A 304 response has the route's headers but no length and body, and the connection stays
    open."""
    with Client(server.port) as client:
        client.send(b"GET /same HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        received = client.read_to_end()
    first, _, second = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b'ETag: "1"' in first
    assert b"Content-Length" not in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")


def test_keep_alive(client: Client, server: Server) -> None:
    for _ in range(50):
        response = client.get("/")
        assert response.body == b"hello\n"
        assert "Connection" not in response.headers

    assert threads("http-worker") == ["http-worker"]
    assert client.get("/", Connection="close").headers["Connection"] == "close"
    assert client.closed()


def test_http_1_0(client: Client) -> None:
    client.send(b"GET / HTTP/1.0\r\n\r\n")

    assert client.read_response().body == b"hello\n"
    assert client.closed()


def test_pipelining(client: Client) -> None:
    for path in ("/", "/large", "/nothing", "/fail"):
        client.request(path)
    client.send(b"GET /par")

    assert [client.read_response().status for _ in range(4)] == [200, 200, 404, 500]
    client.send(b"ts HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_response().body == b"one two"


def test_bodies_are_refused(client: Client) -> None:
    """Otherwise a request could be hidden in the body of another one."""
    body = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    response = client.read_response()
    assert (response.status, response.body) == (400, b"a request must not have a body\n")
    assert client.closed()


@pytest.mark.parametrize("first", [b"", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_malformed_request_line(client: Client, first: bytes) -> None:
    """The response has the reason, also after a HEAD request, whose own response has no body."""
    client.send(first + b"GET\t/ HTTP/1.1\r\n\r\n")
    if first:
        assert client.read_response(body=False).status == 200
    assert client.read_response().body == b"the request line is malformed\n"


def test_empty_body(client: Client) -> None:
    assert client.get("/", Content_Length="0").status == 200
    assert client.get("/").status == 200


def test_failing_route(client: Client, server: Server) -> None:
    response = client.get("/fail")

    assert (response.status, response.body) == (500, b"internal error\n")
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
def test_listen_addresses(listen: str, url: str, host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = Server(listen, ROUTES, lambda: None)
    server.start()
    try:
        with Client(server.port, host=host) as client:
            assert client.get("/").status == 200
        assert server.url == f"{url}{server.port}"
    finally:
        server.close()


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
def test_bind_errors(server: Server, listen: str, reason: str) -> None:
    listen = listen.format(taken=server.port)
    before = descriptors()

    with pytest.raises(BindError) as caught:
        Server(listen, ROUTES, lambda: None)

    assert str(caught.value).startswith(f"cannot listen on {listen}: {reason}")
    assert descriptors() <= before


def test_close_aborts_connections() -> None:
    started, release, finished = (threading.Event() for _ in range(3))

    def slow(_: Request) -> Response:
        started.set()
        release.wait(60)
        finished.set()
        return Response(b"late\n")

    other = Server("127.0.0.1:0", {"/slow": slow, "/": ROUTES["/"]}, lambda: None)
    other.start()
    with Client(other.port) as idle, Client(other.port) as half, Client(other.port) as waiting:
        idle.get("/")
        half.send(b"GET / HT")
        waiting.request("/slow")
        assert started.wait(60)
        other.close()
        assert not finished.is_set(), "close does not wait for a route"

        assert idle.closed()
        assert half.closed()
        assert waiting.closed()
        release.set()
    with pytest.raises(ConnectionRefusedError):
        Client(other.port)


def test_death_of_accept_thread() -> None:
    deaths: list[BaseException | None] = []
    ticks: list[None] = []

    def tick() -> None:
        ticks.append(None)
        if len(ticks) == 3:
            raise RuntimeError("no more")

    server = Server("127.0.0.1:0", ROUTES, tick)
    server.on_death = deaths.append
    server.start()
    for _ in range(3):  # each ends a wait
        assert get(server.port).status == 200
    wait_for(lambda: deaths)
    server.close()

    assert repr(deaths[0]) == "RuntimeError('no more')"
