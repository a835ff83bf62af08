"""Standard input, output and error as a command finds and leaves them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _StandardError(io.FileIO):
    """Complaints that nobody can be told change neither what is done nor the exit status."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Open what was closed of standard input, output and error, lest a socket takes its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be no text
    complaints = io.BufferedWriter(_StandardError(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(complaints, errors="backslashreplace", line_buffering=True)


def discard_output() -> None:
    """Let what is still in the buffer of standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
