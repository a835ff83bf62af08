"""A bounded HTTP server: one thread accepts, and each connection has a worker of its own."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuron_exporter.log import get_logger
from neuron_exporter.web.access import OPEN, Access
from neuron_exporter.web.connections import Connection, Connections
from neuron_exporter.web.handler import Handler, Route
from neuron_exporter.web.listening import listen_on, reachable

_SWEEP_SECONDS = 0.5
_PAUSE_SECONDS = 0.05

_log = get_logger(part="http")


class Server:
    """Serves routes on some addresses, from a thread of its own."""

    def __init__(
        self,
        listen: str | Sequence[str],
        routes: Mapping[str, Route],
        on_tick: Callable[[], None],
        access: Callable[[], Access] = lambda: OPEN,
    ) -> None:
        """Bind to `listen` ("HOST:PORT"; port 0 takes a free one).

        `access` is asked for each connection and each request, so that it may change.

        Raises:
            BindError: with the reason, for people.
        """
        listen = (listen,) if isinstance(listen, str) else listen
        self._sockets = listen_on(listen)
        self._reachable = list(map(reachable, listen, self._sockets))
        self._selector = selectors.DefaultSelector()
        for each in self._sockets:
            self._selector.register(each, selectors.EVENT_READ)
        self._routes = routes
        self._on_tick = on_tick
        self._access = access
        self._connections = Connections()
        self._ending: deque[threading.Thread] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self.on_death: Callable[[BaseException | None], None] = lambda _: None

    @property
    def port(self) -> int:
        """The port that is listened on, by the first address."""
        return int(self._reachable[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        """An address at which this machine can reach the server: the first."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """The same for each address that is listened on."""
        scheme = "http" if self._access().tls is None else "https"
        return [f"{scheme}://{each}" for each in self._reachable]

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop to serve and break off what is under way."""
        self._closing = True
        if self._thread.is_alive():
            self._thread.join()
        self._connections.break_off_all()
        self._selector.close()
        for each in self._sockets:
            each.close()

    def _serve(self) -> None:
        failure: BaseException | None = None
        try:
            while not self._closing:
                for key, _ in self._selector.select(_SWEEP_SECONDS):
                    self._accept(key.fileobj)  # type: ignore[arg-type]
                self._on_tick()
                self._connections.sweep(self._access().tls)
        except BaseException as error:  # noqa: BLE001 (the daemon decides what its death means)
            failure = error
        self.on_death(failure)

    def _accept(self, listening: socket.socket) -> None:
        """Give a newcomer a thread, making room for it if there is none."""
        try:
            sock, client = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it has gone again
        except OSError:
            # No descriptor is left. The newcomer stays where it is, and is asked for again.
            self._connections.displace()
            time.sleep(_PAUSE_SECONDS)
            return
        if not self._connections.make_room():
            sock.close()
            return
        tls = self._access().tls
        try:
            connection = Connection(sock if tls is None else tls.wrap(sock), tls)
        except OSError:
            sock.close()
            self._connections.give_back()
            return
        self._connections.add(connection)
        while self._ending:  # whose places were free a moment before they had gone
            self._ending.popleft().join()
        try:
            threading.Thread(
                target=self._work, args=(connection, client), name="http-worker", daemon=True
            ).start()
        except RuntimeError:  # the system has no thread to give
            connection.close()
            self._connections.remove(connection)

    def _work(self, connection: Connection, client: Any) -> None:
        try:
            if connection.tls is not None:
                connection.tls.shake_hands(connection.socket)
            Handler(connection, client, self._routes, self._access)
        except OSError:
            pass  # the client went away, or was broken off
        except Exception as error:  # noqa: BLE001 (one connection never takes the server down)
            _log.error("connection_failed", error=repr(error))
        finally:
            connection.close()
            self._ending.append(threading.current_thread())
            self._connections.remove(connection)
