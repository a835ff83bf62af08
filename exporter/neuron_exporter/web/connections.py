"""Open connections: limits on their number and duration.

At most `MAX_CONNECTIONS` are open. A new connection displaces the one that has waited longest, so
that idle and half-open connections cannot keep a scrape out. A request has `REQUEST_TIMEOUT`
seconds in all, from handshake to the last byte of the response.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuron_exporter.web.tls import ServerTls

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT = 10.0
IDLE_TIMEOUT = 300.0

_WRITE_GRACE = 1.0
_SLOT_TIMEOUT = 1.0
_SLOT_POLL_SECONDS = 0.02


class Connection:
    """One connection: since when it waits for its client, and the deadline of its request."""

    def __init__(self, sock: socket.socket, tls: ServerTls | None) -> None:
        self.socket = sock
        self.tls = tls
        self.is_idle = False
        self.waiting_since: float | None = time.monotonic()
        self.deadline = time.monotonic() + REQUEST_TIMEOUT

    def mark_idle(self) -> None:
        """Record that no request is in progress."""
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + IDLE_TIMEOUT
        self.is_idle = True

    def mark_reading(self) -> None:
        """Record that the first byte of a request was received."""
        self.is_idle = False
        self.waiting_since = time.monotonic()
        self.deadline = self.waiting_since + REQUEST_TIMEOUT

    def mark_processing(self) -> None:
        """Record that the request is complete; the connection does not wait for its client."""
        self.waiting_since = None

    def mark_writing(self) -> None:
        """Record that the response is ready; after a grace period it waits for its client again."""
        self.waiting_since = time.monotonic() + _WRITE_GRACE

    def abort(self) -> None:
        """End every read and write on the connection, from another thread."""
        self.deadline = math.inf
        with suppress(OSError):
            # SSLSocket.shutdown would continue the connection without encryption.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Send close_notify if encrypted, and close the socket."""
        if self.tls is not None:
            self.tls.close_notify(self.socket)
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        self.socket.close()


class Connections:
    """The open connections of all addresses that the server listens on."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[Connection] = set()
        self._lock = threading.Lock()

    def acquire_slot(self) -> bool:
        """Acquire a slot for a new connection, displacing another one if all are taken.

        Returns whether a slot was acquired.
        """
        deadline = time.monotonic() + _SLOT_TIMEOUT
        displaced = False
        while not self._slots.acquire(timeout=_SLOT_POLL_SECONDS if displaced else 0):
            if time.monotonic() > deadline:
                return False
            # All may be processing now, and wait for their clients a moment later.
            displaced = displaced or self.displace()
            if not displaced:
                time.sleep(_SLOT_POLL_SECONDS)
        return True

    def release_slot(self) -> None:
        """Release a slot that was acquired."""
        self._slots.release()

    def add(self, connection: Connection) -> None:
        """Supervise a connection that has a slot."""
        with self._lock:
            self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """Release the slot of a closed connection."""
        with self._lock:
            self._open.discard(connection)
        self.release_slot()

    def displace(self) -> bool:
        """Abort the connection that has waited longest for its client; return whether one did."""
        with self._lock:
            waiting = [
                (each.waiting_since, each) for each in self._open if each.waiting_since is not None
            ]
        if not waiting:
            return False
        longest = min(waiting, key=lambda pair: pair[0])[1]
        longest.waiting_since = None  # must not be chosen twice
        longest.abort()
        return True

    def sweep(self, tls: ServerTls | None) -> None:
        """Abort connections past their deadline, and idle ones with other TLS settings."""
        now = time.monotonic()
        self._abort(lambda each: now >= each.deadline or (each.is_idle and each.tls is not tls))

    def next_deadline(self) -> float:
        """Return the earliest deadline; infinity if there is none."""
        with self._lock:
            return min((each.deadline for each in self._open), default=math.inf)

    def abort_all(self) -> None:
        """Abort all connections."""
        self._abort(lambda _: True)

    def _abort(self, matches: Callable[[Connection], bool]) -> None:
        with self._lock:
            matching = [each for each in self._open if matches(each)]
        for each in matching:
            each.abort()
