"""Lines to standard output, whose reader may be slow, or gone."""

from __future__ import annotations

import errno
import os
import select

PATIENCE = 3.0
"""Seconds without a byte being taken after which the reader is said to be stuck."""


class OutputError(Exception):
    """A line could not be written. `blocked` if it may be possible later."""

    def __init__(self, code: str, message: str, *, blocked: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.blocked = blocked


class Output:
    """Writes whole lines, and waits for the reader with patience, not for ever.

    The descriptor is left as it is: others may share what O_NONBLOCK would change for all. A pipe
    that can be written to takes PIPE_BUF bytes without blocking.
    """

    def __init__(self, fd: int = 1, patience: float = PATIENCE) -> None:
        self._fd = fd
        self._patience = patience
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def make_room(self) -> None:
        """Write the rest of a line that was begun, and wait until there is room for more.

        Raises:
            OutputError: nothing can be written now.
        """
        if _leads_nowhere(self._fd):
            raise OutputError("NoOutput", "standard output is closed, or /dev/null")
        self._push()
        self._wait()

    def write(self, line: bytes) -> None:
        """Write a line, after `make_room`.

        Raises:
            OutputError: it was not written whole. What was begun is finished by `make_room`.
        """
        self._rest = line
        self._push()

    def _push(self) -> None:
        while self._rest:
            self._wait()
            try:
                taken = os.write(self._fd, self._rest[: select.PIPE_BUF])
            except OSError as error:
                code = errno.errorcode.get(error.errno or 0, "OSError")
                raise OutputError(code, f"standard output: {error.strerror}") from None
            self._rest = self._rest[taken:]

    def _wait(self) -> None:
        if not self._poll.poll(self._patience * 1000):
            raise OutputError(
                "OutputBlocked", "nobody reads standard output, which is full", blocked=True
            )


def _leads_nowhere(fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return False  # what is wrong with it, writing tells
