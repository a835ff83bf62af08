"""Servers that listen on several addresses, IPv4 and IPv6."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from structlog.testing import capture_logs

from neuron_exporter.web import BindError, Response, Route, Server, connections
from neuron_exporter.web.server import listen_on
from tests.support.clients import Client
from tests.support.network import has_ipv6
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

ROUTES: dict[str, Route] = {"/": lambda _: Response(b"hello\n")}


@pytest.fixture(autouse=True)
def _needs_ipv6() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")


@contextmanager
def running_server(*listen: str) -> Iterator[Server]:
    """Run a server on these addresses."""
    server = Server(listen, ROUTES, lambda: None)
    server.start()
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    """Return a port that is free for IPv4 and IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def responds(host: str, port: int) -> bool:
    """Return whether a server responds at an address."""
    try:
        with Client(port, host=host) as client:
            return client.get("/").status == 200
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize(
    ("listen", "ipv4", "ipv6"),
    [
        (":0", True, True),
        ("[::]:0", True, True),
        ("0.0.0.0:0", True, False),
        ("127.0.0.1:0", True, False),
        ("[::1]:0", False, True),
    ],
)
def test_address_families(listen: str, ipv4: bool, ipv6: bool) -> None:
    """ ":9415" and "[::]:9415" accept IPv4 and IPv6, other addresses their own family only."""
    with running_server(listen) as server:
        assert responds("127.0.0.1", server.port) is ipv4
        assert responds("::1", server.port) is ipv6


@pytest.mark.parametrize(
    "listen",
    [
        ["0.0.0.0:{port}", "[::]:{port}"],
        ["[::]:{port}", "127.0.0.1:{port}"],
        ["127.0.0.1:{port}", "[::1]:{port}"],
    ],
)
def test_families_share_a_port(listen: list[str]) -> None:
    port = free_port()
    with running_server(*(each.format(port=port) for each in listen)) as server:
        assert responds("127.0.0.1", port)
        assert responds("::1", port)
        assert len(server.urls) == 2
        assert server.url == server.urls[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_clients_in_the_log(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with IPv4 has its own address there, without the prefix of IPv6 (::ffff:)."""
    monkeypatch.setitem(ROUTES, "/fail", lambda _: 1 / 0)
    with capture_logs() as events, running_server(":0") as server:
        with Client(server.port, host=host) as client:
            assert client.get("/fail").status == 500
        (event,) = [each for each in events if each["event"] == "route_failed"]
    assert event["client"] == host


def test_connection_limit_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 6)
    with running_server("127.0.0.1:0", "[::1]:0") as server, ExitStack() as stack:
        ports = [int(url.rpartition(":")[2]) for url in server.urls]
        for _ in range(10):
            for host, port in zip(("127.0.0.1", "::1"), ports, strict=True):
                client = stack.enter_context(Client(port, host=host))
                assert client.get("/").status == 200
                assert len(threads("http-worker")) <= 6
        wait_for(lambda: len(threads("http-worker")) == 6)


def test_one_bind_error_closes_all() -> None:
    with running_server("127.0.0.1:0") as other:
        wait_for(lambda: threads("http-worker") == [])  # of another test
        before = descriptors()
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{other.port}: Address"):
            Server(["127.0.0.1:0", f"127.0.0.1:{other.port}"], ROUTES, lambda: None)
        assert descriptors() <= before


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    (sock,) = listen_on([":0"])
    with sock:
        assert sock.family == socket.AF_INET
