"""A bounded HTTP server: one thread accepts, and each connection has its own worker thread."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from neuron_exporter.address_file import LOOPBACK, local_address
from neuron_exporter.log import get_logger
from neuron_exporter.web.access import UNPROTECTED, Access
from neuron_exporter.web.connections import Connection, Connections
from neuron_exporter.web.handler import Handler, Route

_MAX_WAIT = 10.0  # a deadline that begins during a wait ends later (`REQUEST_TIMEOUT`)
_ACCEPT_RETRY_SECONDS = 0.05
_BACKLOG = 1024  # a connection that finds it full is tried again after a second or more
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

_log = get_logger(part="http")


class BindError(Exception):
    """An address that the server cannot listen on."""


class Server:
    """HTTP server of routes on one or more addresses, with its own thread."""

    def __init__(
        self,
        listen: str | Sequence[str],
        routes: Mapping[str, Route],
        on_tick: Callable[[], None],
        access: Callable[[], Access] = lambda: UNPROTECTED,
    ) -> None:
        """Bind to `listen` ("HOST:PORT"; port 0 selects a free port).

        `access` is called for each connection and each request, so that it may change.

        Raises:
            BindError: an address cannot be used; the message contains the reason.
        """
        listen = (listen,) if isinstance(listen, str) else listen
        self._sockets = listen_on(listen)
        self.addresses = list(map(_bound_address, listen, self._sockets))
        """The addresses in `listen`, with the ports that were bound."""
        self._local_addresses = list(map(_local_address, listen, self._sockets))
        self._selector = selectors.DefaultSelector()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        for each in self._sockets:
            self._selector.register(each, selectors.EVENT_READ)
        self._routes = routes
        self._on_tick = on_tick
        self._access = access
        self._connections = Connections()
        self._finished: deque[threading.Thread] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self.on_death: Callable[[BaseException | None], None] = lambda _: None

    @property
    def port(self) -> int:
        """The port of the first address."""
        return int(self._local_addresses[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        """A URL at which this machine reaches the first address."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """A URL for each address, at which this machine reaches it."""
        scheme = "http" if self._access().tls is None else "https"
        return [f"{scheme}://{each}" for each in self._local_addresses]

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop the server and abort all connections."""
        if self._closing:
            return
        self._closing = True
        os.eventfd_write(self._wakeup, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._connections.abort_all()
        self._selector.close()
        os.close(self._wakeup)
        for each in self._sockets:
            each.close()

    def sweep(self) -> None:
        """Abort connections past their deadline, and idle ones with outdated TLS settings."""
        self._connections.sweep(self._access().tls)

    def _serve(self) -> None:
        failure: BaseException | None = None
        try:
            while not self._closing:
                deadline = self._connections.next_deadline() - time.monotonic()
                for key, _ in self._selector.select(max(0.0, min(_MAX_WAIT, deadline))):
                    if key.fd != self._wakeup:
                        self._accept(key.fileobj)  # type: ignore[arg-type]
                self._on_tick()
                self.sweep()
        except BaseException as error:  # noqa: BLE001 (the daemon decides how to react)
            failure = error
        self.on_death(failure)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one connection and start its worker, displacing another if there are too many."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has disconnected again
        except OSError:
            # No file descriptor is free. The connection stays in the backlog until one is.
            self._connections.displace()
            time.sleep(_ACCEPT_RETRY_SECONDS)
            return
        if not self._connections.acquire_slot():
            sock.close()
            return
        tls = self._access().tls
        try:
            connection = Connection(sock if tls is None else tls.wrap(sock), tls)
        except OSError:
            sock.close()
            self._connections.release_slot()
            return
        self._connections.add(connection)
        while self._finished:  # workers release their slot shortly before their thread ends
            self._finished.popleft().join()
        try:
            threading.Thread(
                target=self._work,
                args=(connection, _unmapped(client)),
                name="http-worker",
                daemon=True,
            ).start()
        except RuntimeError:  # the system allows no further thread
            connection.close()
            self._connections.remove(connection)

    def _work(self, connection: Connection, client: tuple[str, int]) -> None:
        try:
            if connection.tls is not None:
                connection.tls.handshake(connection.socket)
            Handler(connection, client, self._routes, self._access)
        except OSError:
            pass  # the client disconnected, or the connection was aborted
        except Exception as error:  # noqa: BLE001 (one connection must not stop the server)
            _log.error("connection_failed", client=client[0], error=repr(error))
        finally:
            connection.close()
            self._finished.append(threading.current_thread())
            self._connections.remove(connection)


def _unmapped(client: Sequence[Any]) -> tuple[str, int]:
    """Return host and port of a client, an IPv4 host without IPv6's prefix (::ffff:192.0.2.1)."""
    host = client[0].removeprefix("::ffff:")
    return (client[0] if ":" in host else host), client[1]


def listen_on(addresses: Sequence[str]) -> list[socket.socket]:
    """Return listening sockets for all addresses ("HOST:PORT"), in order.

    An empty host, as in ":9415", means every IPv6 and IPv4 address, on one socket; on a machine
    without IPv6, every IPv4 address. "[::]" means both as well, unless another address uses the
    same port.

    Raises:
        BindError: an address cannot be used. No socket is left open.
    """
    ports = Counter(address.rpartition(":")[2] for address in addresses)
    with ExitStack() as on_error:
        opened = [
            on_error.enter_context(_listen(each, owns_port=ports[each.rpartition(":")[2]] == 1))
            for each in addresses
        ]
        on_error.pop_all()
    return opened


def _listen(address: str, *, owns_port: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        if not host:
            try:
                return _open(socket.AF_INET6, ("::", int(port)), dual_stack=True)
            except OSError as error:
                if error.errno not in _NO_IPV6:
                    raise
                host = "0.0.0.0"  # noqa: S104 # configured
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        # If a name resolves to both kinds of addresses, listen on IPv4.
        family, _, _, _, resolved = min(found, key=lambda each: each[0] is not socket.AF_INET)
        sockaddr = (resolved[0], int(port), *resolved[2:])
        return _open(family, sockaddr, dual_stack=owns_port and host == "::")
    except (OSError, ValueError, OverflowError) as error:
        # ValueError: a NUL in the host; OverflowError: a port above 65535.
        reason = getattr(error, "strerror", None) or str(error)
        raise BindError(f"cannot listen on {address}: {reason}") from error


def _open(family: int, sockaddr: tuple[object, ...], *, dual_stack: bool) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # whatever the system's default (bindv6only) is
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.bind(sockaddr)
        sock.listen(_BACKLOG)
        sock.setblocking(False)  # a client may disconnect before it is accepted
    except BaseException:
        sock.close()
        raise
    return sock


def _bound_address(address: str, sock: socket.socket) -> str:
    return f"{address.rpartition(':')[0]}:{sock.getsockname()[1]}"


def _local_address(address: str, sock: socket.socket) -> str:
    """Return HOST:PORT at which this machine reaches a socket that listens on `address`."""
    host = address.rpartition(":")[0].strip("[]")
    bound_host, port = sock.getsockname()[:2]
    return local_address(host if host in LOOPBACK else bound_host, port)
