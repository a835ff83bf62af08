"""Sockets that listen where the configuration says."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence

_BACKLOG = 128
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared)
"""Hosts that stand for all addresses, and one at which this machine can reach them."""


class BindError(Exception):
    """The address cannot be listened on."""


def listen_on(addresses: Sequence[str]) -> list[socket.socket]:
    """Sockets for all addresses ("HOST:PORT"), in their order.

    No host, as in ":9415", is every address of both kinds; so is "[::]", unless the same port is
    listened on by another address.

    Raises:
        BindError: with the reason, for people. Nothing is left open.
    """
    ports = Counter(address.rpartition(":")[2] for address in addresses)
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            opened.append(_listen(address, alone=ports[address.rpartition(":")[2]] == 1))
    except BindError:
        for each in opened:
            each.close()
        raise
    return opened


def reachable(address: str, sock: socket.socket) -> str:
    """HOST:PORT at which this machine can reach a socket that listens on `address`."""
    host = address.rpartition(":")[0].strip("[]")
    host = _EVERYWHERE.get(host, str(sock.getsockname()[0]))
    port = sock.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(address: str, *, alone: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host:
        try:
            return _open(socket.AF_INET6, ("::", int(port)), both=True)
        except OSError:
            host = "0.0.0.0"  # noqa: S104 (asked for); this machine has no IPv6
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        # A name that stands for addresses of both kinds is listened on at the older one.
        family, _, _, _, where = min(found, key=lambda each: each[0] is not socket.AF_INET)
        return _open(family, (where[0], int(port), *where[2:]), both=alone and host == "::")
    except (OSError, ValueError, OverflowError) as error:
        # The last two: a NUL in the host, a port beyond 65535.
        reason = getattr(error, "strerror", None) or str(error)
        raise BindError(f"cannot listen on {address}: {reason}") from error


def _open(family: int, where: tuple[object, ...], *, both: bool) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind(where)
        sock.listen(_BACKLOG)
        sock.setblocking(False)  # a client may have gone again before it is accepted
    except BaseException:
        sock.close()
        raise
    return sock
