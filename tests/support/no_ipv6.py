"""A command on a machine without IPv6.

    python no_ipv6.py ERROR COMMAND [ARGUMENT ...]

A filter of the kernel (seccomp) lets socket(AF_INET6, ...) fail with this error. ERROR is its name,
EAFNOSUPPORT for a kernel without IPv6.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_UNLESS_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SYS_SOCKET = {"x86_64": 41, "aarch64": 198}
_NUMBER, _FIRST_ARGUMENT = 0, 16
"""Offsets in `struct seccomp_data`."""


def without_ipv6(error: str = "EAFNOSUPPORT") -> tuple[str, ...]:
    """Return the command prefix."""
    return sys.executable, "-I", "-S", str(Path(__file__).resolve()), error


def _forbid_ipv6(error: int) -> None:
    program = (
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_UNLESS_EQUAL, 0, 3, _SYS_SOCKET[platform.machine()]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_UNLESS_EQUAL, 0, 1, socket.AF_INET6),
        (_RETURN, 0, 0, _FAIL | error),
        (_RETURN, 0, 0, _ALLOW),
    )
    instructions = b"".join(struct.pack("HBBI", *each) for each in program)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0) != 0:
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    _forbid_ipv6(getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 (no shell is intended)
