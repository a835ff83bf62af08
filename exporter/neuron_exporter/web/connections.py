"""The open connections: how many there may be, for how long, and which of them has to go.

At most `MOST_CONNECTIONS` are open; a newcomer displaces the one that has waited longest, so
that neither idle nor half-open connections can keep a scrape out. Whoever is in the middle of a
request has `REQUEST_SECONDS` for all of it, handshake and slow reading included.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from neuron_exporter.web.access import Tls

MOST_CONNECTIONS = 32
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 300.0

_WRITE_SECONDS = 1.0
_SLOT_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.02


class Connection:
    """One connection: since when it waits, and until when its request must be over."""

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self.socket = sock
        self.tls = tls
        self.is_idle = False
        self.waiting_since: float | None = time.monotonic()
        self.deadline = time.monotonic() + REQUEST_SECONDS

    def idle(self) -> None:
        """No request is under way."""
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + IDLE_SECONDS
        self.is_idle = True

    def begin(self) -> None:
        """The first byte of a request has come."""
        self.is_idle = False
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + REQUEST_SECONDS

    def compute(self) -> None:
        """The request is complete; what follows is up to us."""
        self.waiting_since = None

    def write(self) -> None:
        """The answer is ready; after a moment it is the client who keeps us waiting."""
        self.waiting_since = time.monotonic() + _WRITE_SECONDS

    def break_off(self) -> None:
        """End every read and write on the connection, from another thread."""
        with suppress(OSError):
            # Not the method of an encrypted socket, which would go on in the clear.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Say that nothing more comes, and close."""
        if self.tls is not None:
            self.tls.take_leave(self.socket)
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        self.socket.close()


class Connections:
    """The open ones, over all addresses that are listened on."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: set[Connection] = set()
        self._lock = threading.Lock()

    def make_room(self) -> bool:
        """Take a place for one more, displacing another if there is none."""
        until = time.monotonic() + _SLOT_SECONDS
        displaced = False
        while not self._slots.acquire(timeout=_LOOK_AGAIN_SECONDS if displaced else 0):
            if time.monotonic() > until:
                return False
            # All may be at work now, and wait for their clients a moment later.
            displaced = displaced or self.displace()
            if not displaced:
                time.sleep(_LOOK_AGAIN_SECONDS)
        return True

    def give_back(self) -> None:
        """Give up a place that was taken."""
        self._slots.release()

    def add(self, connection: Connection) -> None:
        """Keep an eye on a connection that has a place."""
        with self._lock:
            self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has been closed."""
        with self._lock:
            self._open.discard(connection)
        self.give_back()

    def displace(self) -> bool:
        """Break off the connection that has waited longest for its client, if any does."""
        with self._lock:
            waiting = [
                (each.waiting_since, each) for each in self._open if each.waiting_since is not None
            ]
        if not waiting:
            return False
        longest = min(waiting, key=lambda pair: pair[0])[1]
        longest.waiting_since = None  # it goes once
        longest.break_off()
        return True

    def sweep(self, tls: Tls | None) -> None:
        """Break off whoever took too long, or is idle in another encryption than this."""
        now = time.monotonic()
        self._break_off(lambda each: now > each.deadline or (each.is_idle and each.tls is not tls))

    def break_off_all(self) -> None:
        """End all connections."""
        self._break_off(lambda _: True)

    def _break_off(self, chosen: Callable[[Connection], bool]) -> None:
        with self._lock:
            going = [each for each in self._open if chosen(each)]
        for each in going:
            each.break_off()
