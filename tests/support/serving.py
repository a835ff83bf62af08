"""A server with a web configuration that runs beside the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuron_exporter.web import Response, Server
from neuron_exporter.web.config_file import WebConfigFile
from tests.support.clients import ClientResponse, basic_auth, get
from tests.support.processes import descriptors, threads
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash

ROUTES = {
    "/": lambda _: Response(b"hello\n"),
    "/healthz": lambda _: Response(b"ok\n"),
    "/known": lambda request: Response(b"yes\n" if request.is_authenticated else b"no\n"),
}
USERS = {"me": bcrypt_hash("secret")}
AUTHORIZATION = basic_auth("me", "secret")


@contextmanager
def running_server(folder: WebConfigFolder, **sections: Any) -> Iterator[RunningServer]:
    """Run a server with this web configuration; check that no thread or descriptor is left."""
    wait_for(lambda: threads("http", "http-worker") == [])  # of another test
    before = descriptors()
    file = WebConfigFile(folder.write(**sections))
    server = Server("127.0.0.1:0", ROUTES, lambda: None, file.access)
    server.start()
    try:
        yield RunningServer(folder, file, server)
    finally:
        server.close()
        wait_for(lambda: threads("http", "http-worker") == [])
        wait_for(lambda: descriptors() <= before)


class RunningServer:
    """A running server and its configuration."""

    def __init__(self, folder: WebConfigFolder, file: WebConfigFile, server: Server) -> None:
        self.folder = folder
        self.file = file
        self.server = server
        self.port = server.port

    def get(
        self, path: str = "/", certificate: tuple[Path, Path] | None = None, **headers: str
    ) -> ClientResponse:
        """Send one request over TLS."""
        return get(self.port, path, tls=self.folder.client_context(certificate), **headers)

    def reload(self, **sections: Any) -> None:
        """Write another configuration and wait until it is active."""
        before = self.file.access()
        self.folder.write(**sections)

        def is_active() -> bool:
            self.file.refresh()
            self.server.sweep()  # as the daemon does
            return self.file.access() is not before

        wait_for(is_active)
