"""Names by which a client may ask for this server.

A page of another site can let its own name lead to this machine, and then read what the machine
serves (DNS rebinding). Its requests name that site in `Host`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

_HOST = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\.?"
    r"|\[(?P<ipv6>[0-9A-Fa-f:.]+)(?:%[A-Za-z0-9%._~-]+)?\])(?::[0-9]{1,5})?"
)
_OF_THE_CLUSTER = ("localhost", "*.svc", "*.svc.cluster.local")
_RESOLVER = Path("/etc/resolv.conf")
_MAX_BYTES = 64 * 1024


class AllowedHosts:
    """Every IP address, `localhost`, names of Kubernetes services, and some names. "*.NAME" means
    every name below NAME."""

    def __init__(self, names: Iterable[str]) -> None:
        every = {name.lower().removesuffix(".") for name in (*_OF_THE_CLUSTER, *names)}
        self._names = frozenset(every)
        self._suffixes = tuple(name[1:] for name in every if name.startswith("*."))

    def admits(self, host: str) -> bool:
        """Return whether the value of a Host header is allowed, with any port."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["name"] or match["ipv6"]).lower()
        return name in self._names or name.endswith(self._suffixes) or _is_address(name)


def own_names() -> set[str]:
    """Return the names of this machine: its host name, also in the domains in which it looks up
    names. Sends nothing to a name server."""
    name = socket.gethostname()
    first = name.partition(".")[0]
    return {name, first, *(f"{first}.{domain}" for domain in _search_domains())}


def _search_domains() -> set[str]:
    with suppress(OSError), _RESOLVER.open(encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file.read(_MAX_BYTES).splitlines()]
        return {
            word for line in lines if line[:1] == ["search"] for word in line[1:] if word != "."
        }
    return set()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
