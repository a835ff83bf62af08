"""A pipe that is full and not read, as of a log driver that is stuck."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

SIZE = 4096


class FullPipe:
    """The two ends of a full pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, SIZE)
        os.write(self.writing, b"x" * (SIZE - 1) + b"\n")

    def lines(self) -> Iterator[str]:
        """Read the pipe and yield the lines that were written behind its first content."""
        with open(self.reading, "rb", closefd=False) as file:
            file.readline()
            for line in file:
                yield line.decode().rstrip("\n")

    def close_writing(self) -> None:
        """Close the writing end in this process; other processes keep theirs."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1


@contextmanager
def full_pipe() -> Iterator[FullPipe]:
    """Open a full pipe."""
    pipe = FullPipe()
    try:
        yield pipe
    finally:
        pipe.close_writing()
        os.close(pipe.reading)
