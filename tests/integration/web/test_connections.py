"""A connection that stays open without requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from neuron_exporter.web import Response, Server
from tests.support.connections import Clients, running_server, set_limits, short_timeout


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow few connections, but slow requests."""
    set_limits(monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server."""
    with running_server({"/": lambda _: Response(b"hello\n")}) as running:
        yield running


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    """Open connections that are closed after the test."""
    with ExitStack() as stack:
        yield Clients(server, stack)


def test_idle_connection_stays_open(server: Server, clients: Clients) -> None:
    """The request timeout does not apply to idle connections."""
    idle = clients.connect_idle()
    with short_timeout():
        for _ in range(2):
            assert clients.connect().closed()

    assert idle.get("/").status == 200
