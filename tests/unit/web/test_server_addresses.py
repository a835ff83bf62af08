"""Where the server listens: several addresses, of both kinds, with one bound for all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from neuron_exporter.web import BindError, Response, Server
from neuron_exporter.web import connections as web
from neuron_exporter.web import server as serving
from neuron_exporter.web.listening import listen_on
from tests.support.clients import Client
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for

ROUTES = {"/": lambda _: Response(b"hello\n")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks around often, so that it closes soon."""
    monkeypatch.setattr(serving, "_SWEEP_SECONDS", 0.02)


@pytest.fixture(autouse=True)
def _needs_ipv6() -> None:
    """Half of what is tested here is IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@contextmanager
def served(*listen: str) -> Iterator[Server]:
    """A server on these addresses."""
    server = Server(listen, ROUTES, lambda: None)
    server.start()
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    """A port that nobody listens on, of either kind of address."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int) -> bool:
    """Whether the server answers at an address."""
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
def test_no_host_is_every_address_of_both_kinds(listen: str, ipv4: bool, ipv6: bool) -> None:
    """ ":9415" and "[::]:9415" are reached over IPv4 and IPv6, the others over their own kind."""
    with served(listen) as server:
        assert answers("127.0.0.1", server.port) is ipv4
        assert answers("::1", server.port) is ipv6


@pytest.mark.parametrize(
    "listen",
    [
        ["0.0.0.0:{port}", "[::]:{port}"],
        ["[::]:{port}", "127.0.0.1:{port}"],
        ["127.0.0.1:{port}", "[::1]:{port}"],
    ],
)
def test_both_kinds_may_share_a_port(listen: list[str]) -> None:
    """Whoever lists an address of each kind with one port gets both, in either order."""
    port = free_port()
    with served(*(each.format(port=port) for each in listen)) as server:
        assert answers("127.0.0.1", port)
        assert answers("::1", port)
        assert len(server.urls) == 2
        assert server.url == server.urls[0]


def test_connections_are_bounded_over_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """More addresses are not more connections."""
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 6)
    with served("127.0.0.1:0", "[::1]:0") as server, ExitStack() as stack:
        ports = [int(url.rpartition(":")[2]) for url in server.urls]
        for _ in range(10):
            for host, port in zip(("127.0.0.1", "::1"), ports, strict=True):
                client = stack.enter_context(Client(port, host=host))
                assert client.get("/").status == 200
                assert len(threads("http-worker")) <= 6
        wait_for(lambda: len(threads("http-worker")) == 6)


def test_one_address_that_cannot_be_had_is_an_error_for_all() -> None:
    """No half of a configuration is served, and no socket is left open."""
    with served("127.0.0.1:0") as other:
        before = descriptors()
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{other.port}: Address"):
            Server(["127.0.0.1:0", f"127.0.0.1:{other.port}"], ROUTES, lambda: None)
        assert descriptors() == before


def test_without_ipv6_every_address_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no IPv6, ":9415" is still listened on."""
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    (sock,) = listen_on([":0"])
    with sock:
        assert sock.family == socket.AF_INET
