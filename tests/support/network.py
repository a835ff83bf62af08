"""A network of its own, for tests of addresses that this machine does not have."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_IPV6 = Path("/proc/sys/net/ipv6")


@contextmanager
def own_network(*addresses: str) -> Iterator[None]:
    """Move this thread, and what it starts, into a network with only these and loopback addresses.

    Skips the test where that is not permitted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if shutil.which("ip") is None or libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip("a network of its own requires root and iproute2")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in addresses:
                _add(address)
            yield
        finally:
            assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0


def _add(address: str) -> None:
    is_ipv6 = ":" in address
    if is_ipv6 and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    at_once = ["nodad"] if is_ipv6 else []  # without a search for duplicates
    subprocess.run(["ip", "address", "add", address, "dev", "lo", *at_once], check=True)


def has_ipv6() -> bool:
    """Return whether the current network has IPv6."""
    path = _IPV6 / "conf/all/disable_ipv6"
    return path.exists() and path.read_text().strip() == "0"


def set_ipv6(name: str, value: int) -> None:
    """Set a sysctl of IPv6 in the current network, which must be an own one."""
    (_IPV6 / name).write_text(f"{value}\n")
