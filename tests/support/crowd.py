"""A crowd in a process of its own, so that it does not slow the one who measures.

    python -m tests.support.crowd PORT AUTHORITY USER PASSWORD

A hundred scrapers come once a second over TLS, each with a connection of its own. Beside them are
40 clients that never begin their handshake, 40 that never end their request and 20 that never take
their answer; all begin at once, and those who are broken off come again. It prints a line when
scrapes enough for every scraper were answered, and ends when its input is closed.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.support.clients import Client, basic

SCRAPERS, SILENT, HALF, SLOW = 100, 40, 40, 20
_PAUSE = 0.5


class Crowd:
    """Everybody who comes."""

    def __init__(self, port: int, authority: str, authorization: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=authority)
        self._authorization = authorization
        self._answered = threading.Semaphore(0)

    def run(self) -> None:
        """Come, and come again until the input is closed."""
        roles = (
            (SCRAPERS, self._scrape, 1.0),
            (SILENT, self._stay_silent, _PAUSE),
            (HALF, self._ask_half, _PAUSE),
            (SLOW, self._take_nothing, _PAUSE),
        )
        start = threading.Barrier(sum(count for count, _, _ in roles))
        for count, role, pause in roles:
            for _ in range(count):
                threading.Thread(
                    target=self._repeat, args=(role, pause, start), daemon=True
                ).start()
        for _ in range(SCRAPERS):
            self._answered.acquire()
        print("everybody is here", flush=True)
        sys.stdin.read()

    def _repeat(self, role: Callable[[], None], pause: float, start: threading.Barrier) -> None:
        start.wait()
        while True:
            with suppress(OSError):
                role()
            time.sleep(pause)

    def _scrape(self) -> None:
        with Client(self._port, tls=self._tls) as client:
            answer = client.get(
                "/metrics", Authorization=self._authorization, Accept_Encoding="gzip"
            )
            if answer.status == 200:
                self._answered.release()

    def _stay_silent(self) -> None:
        with Client(self._port) as client:
            client.closed()

    def _ask_half(self) -> None:
        with Client(self._port, tls=self._tls) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: ")
            client.closed()

    def _take_nothing(self) -> None:
        with Client(self._port, tls=self._tls, receive_buffer=4096) as client:
            client.request("/metrics", Authorization=self._authorization)
            time.sleep(5)


if __name__ == "__main__":
    _, port, authority, user, password = sys.argv
    Crowd(int(port), authority, basic(user, password)).run()
