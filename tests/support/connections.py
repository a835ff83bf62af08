"""Limits on connections that tests set, and clients that connect to a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

import pytest

from neuron_exporter.web import Server, connections
from neuron_exporter.web import server as web_server
from neuron_exporter.web.handler import Route
from tests.support.clients import Client
from tests.support.processes import threads
from tests.support.waiting import wait_for


def set_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the real limits, and allow few connections, but slow requests on a busy machine."""
    assert (connections.MAX_CONNECTIONS, connections.REQUEST_TIMEOUT) == (32, 10.0)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 60.0)
    monkeypatch.setattr(web_server, "_MAX_WAIT", 0.02)


@contextmanager
def short_timeout() -> Iterator[None]:
    """Abort requests that begin now after a fraction of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "REQUEST_TIMEOUT", 0.3)
        yield


@contextmanager
def running_server(routes: Mapping[str, Route]) -> Iterator[Server]:
    """Run a server until its threads have ended."""
    server = Server("127.0.0.1:0", routes, lambda: None)
    server.start()
    yield server
    server.close()
    wait_for(lambda: threads("http", "http-worker") == [])


class Clients:
    """Opens connections to a server."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack

    def connect(self, sent: bytes = b"", *, receive_buffer: int | None = None) -> Client:
        """Open a connection and send these bytes."""
        client = Client(self._server.port, receive_buffer=receive_buffer)
        self._stack.callback(client.close)
        client.send(sent)
        return client

    def connect_idle(self) -> Client:
        """Open a connection, complete a request on it, and leave it idle."""
        client = self.connect()
        assert client.get("/").status == 200
        wait_for(lambda: self._is_idle(client))
        return client

    def _is_idle(self, client: Client) -> bool:
        address = client.socket.getsockname()
        for each in list(self._server._connections._open):
            with suppress(OSError):
                if each.socket.getpeername() == address:
                    return each.is_idle
        return False
