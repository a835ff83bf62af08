"""A child process that prints lines: started, drained, and ended with all that it started."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_LONGEST_STDERR_LINE = 4096
_POLL = 0.01


class SpawnError(Exception):
    """The program exists and could not be started."""


class Backoff:
    """Delays that double from `first` to `longest` seconds, each with jitter down to its half."""

    def __init__(
        self, first: float = 1.0, longest: float = 60.0, rng: random.Random | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._rng = rng or random.Random()  # noqa: S311 (jitter is no secret)
        self._delay = 0.0

    def next(self) -> float:
        """The delay before the next attempt."""
        self._delay = min(self._longest, self._delay * 2 or self._first)
        return self._rng.uniform(self._delay / 2, self._delay)

    def reset(self) -> None:
        """Begin again from the shortest delay: the source is healthy."""
        self._delay = 0.0


class Child:
    """A running program in its own session. Made and stopped by one thread, which it dies with."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_stderr: Callable[[str], None],
    ) -> None:
        """Start `command`, whose first word is the path of the program.

        Raises:
            SpawnError: with the system's reason.
        """
        told, telling = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), str(telling), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,
                pass_fds=(telling,),
                bufsize=0,
            )
        except OSError as error:
            os.close(told)
            raise SpawnError(f"{command[0]}: {error.strerror or error}") from error
        finally:
            os.close(telling)
        with open(told, "rb") as status:
            reason = status.read().decode()  # ends when the program has replaced the launcher
        if reason:
            self._process.communicate()
            raise SpawnError(f"{command[0]}: {reason}")
        assert self._process.stdout is not None  # noqa: S101 (for the type checker)
        self.stdout: int = self._process.stdout.fileno()
        # An unread pipe blocks its writer: the child would freeze after 64 KiB of complaints.
        self._drain = threading.Thread(
            target=self._drain_stderr, args=(on_stderr,), name="stderr", daemon=True
        )
        self._drain.start()

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._process.pid

    def ended(self) -> bool:
        """Whether the child has ended. It stays a zombie until `stop`: its group keeps its id."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def stop(self, patience: float) -> int:
        """End the child and all that it started; gives its exit status, negative for a signal.

        The group is killed in every case, since a grandchild may outlive the child, and before
        the child is reaped, since afterwards its id may be another's.
        """
        if not self.ended():
            self._signal_group(signal.SIGTERM)
            until = time.monotonic() + patience
            while not self.ended() and time.monotonic() < until:
                time.sleep(_POLL)
        self._signal_group(signal.SIGKILL)
        status = self._process.wait()
        self._drain.join(patience)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not (pipe is self._process.stderr and self._drain.is_alive()):
                pipe.close()
        return status

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _drain_stderr(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stderr is not None  # noqa: S101 (for the type checker)
        fd = self._process.stderr.fileno()
        held = b""
        while True:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                return
            if not chunk:
                return
            *lines, held = (held + chunk).split(b"\n")
            if len(held) > _LONGEST_STDERR_LINE:
                lines, held = [*lines, held], b""
            for line in lines:
                if line.strip():
                    on_line(line[:_LONGEST_STDERR_LINE].decode("utf-8", "replace").strip())
