"""A load of well-behaved and stuck clients, in a process of its own to keep measurements clean.

    python -m tests.support.client_load PORT AUTHORITY USER PASSWORD

A hundred scrapers send a request per second over TLS, each with a connection of its own. Beside
them, 40 clients never begin their handshake, 40 never finish their request and 20 never read their
response. All start at once, and reconnect when they are disconnected. The program prints a line
when as many scrapes as there are scrapers have been answered, and ends when its input is closed.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.support.clients import Client, basic_auth

SCRAPERS, SILENT, HALF, SLOW = 100, 40, 40, 20
STARTED = "all clients have started"

_PAUSE = 0.5


class ClientLoad:
    """The clients of one server."""

    def __init__(self, port: int, authority: str, authorization: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=authority)
        self._authorization = authorization
        self._answered = threading.Semaphore(0)

    def run(self) -> None:
        """Connect, and reconnect, until the input is closed."""
        roles = (
            (SCRAPERS, self._scrape, 1.0),
            (SILENT, self._stay_silent, _PAUSE),
            (HALF, self._send_half_a_request, _PAUSE),
            (SLOW, self._read_nothing, _PAUSE),
        )
        start = threading.Barrier(sum(count for count, _, _ in roles))
        for count, role, pause in roles:
            for _ in range(count):
                threading.Thread(
                    target=self._repeat, args=(role, pause, start), daemon=True
                ).start()
        for _ in range(SCRAPERS):
            self._answered.acquire()
        print(STARTED, flush=True)
        sys.stdin.read()

    def _repeat(self, role: Callable[[], None], pause: float, start: threading.Barrier) -> None:
        start.wait()
        while True:
            with suppress(OSError):
                role()
            time.sleep(pause)

    def _scrape(self) -> None:
        with Client(self._port, tls=self._tls) as client:
            response = client.get(
                "/metrics", Authorization=self._authorization, Accept_Encoding="gzip"
            )
            if response.status == 200:
                self._answered.release()

    def _stay_silent(self) -> None:
        with Client(self._port) as client:
            client.closed()

    def _send_half_a_request(self) -> None:
        with Client(self._port, tls=self._tls) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: ")
            client.closed()

    def _read_nothing(self) -> None:
        with Client(self._port, tls=self._tls, receive_buffer=4096) as client:
            client.request("/metrics", Authorization=self._authorization)
            time.sleep(5)


if __name__ == "__main__":
    _, port, authority, user, password = sys.argv
    ClientLoad(int(port), authority, basic_auth(user, password)).run()
