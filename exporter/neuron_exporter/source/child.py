"""A child process that prints lines: started, drained, and ended with all that it started."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_LONGEST_STDERR_LINE = 4096
_STDERR_PIPE = 65536
_POLL = 0.01
_LISTEN = 0.5
_KILL_PATIENCE = 1.0
_LAUNCH_PATIENCE = 5.0


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
        try:
            self._process, reason = _launch(command, environment)
        except (OSError, ValueError) as error:  # a ValueError is a NUL in a word
            reason = getattr(error, "strerror", None) or str(error)
            raise SpawnError(f"{command[0]}: {reason}") from error
        if reason:
            self._process.communicate()
            raise SpawnError(f"{command[0]}: {reason}")
        assert self._process.stdout is not None  # noqa: S101 (for the type checker)
        self.stdout: int = self._process.stdout.fileno()
        self._over = False
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

    def stop(self, patience: float) -> int | None:
        """End the child and all that it started; gives its exit status, negative for a signal.

        None says that it does not end, not even by SIGKILL: it waits in the kernel, maybe for a
        sick driver. Then ask again later.

        The group is killed in every case, since a grandchild may outlive the child, and before
        the child is reaped, since afterwards its id may be another's.
        """
        if not self.ended():
            self._signal_group(signal.SIGTERM)
            self._wait_for_end(patience)
        self._signal_group(signal.SIGKILL)
        if not self._wait_for_end(_KILL_PATIENCE):
            return None
        status = self._process.wait()
        self._reap_orphans()
        self._over = True
        self._drain.join(_KILL_PATIENCE)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not (pipe is self._process.stderr and self._drain.is_alive()):
                pipe.close()
        return status

    def _wait_for_end(self, patience: float) -> bool:
        until = time.monotonic() + patience
        while not (ended := self.ended()) and time.monotonic() < until:
            time.sleep(_POLL)
        return ended

    def _reap_orphans(self) -> None:
        """Reap what the child started and left behind, which is ours where we are process 1."""
        until = time.monotonic() + _KILL_PATIENCE
        with suppress(ChildProcessError):  # there is none
            while time.monotonic() < until:
                if os.waitid(os.P_PGID, self._process.pid, os.WEXITED | os.WNOHANG) is None:
                    time.sleep(_POLL)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _drain_stderr(self, on_line: Callable[[str], None]) -> None:
        def give(line: bytes) -> None:
            if line.strip():
                on_line(line[:_LONGEST_STDERR_LINE].decode("utf-8", "replace").strip())

        held = b""
        for chunk in self._read_stderr():
            *lines, held = (held + chunk).split(b"\n")
            if len(held) > _LONGEST_STDERR_LINE:
                lines, held = [*lines, held], b""
            for line in lines:
                give(line)
        give(held)

    def _read_stderr(self) -> Iterator[bytes]:
        assert self._process.stderr is not None  # noqa: S101 (for the type checker)
        fd = self._process.stderr.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        last = False
        while not last:
            # What fled from the group may hold the pipe for ever; one more read gets all that the
            # child can have left in it.
            last = self._over
            if poll.poll(0 if last else _LISTEN * 1000):
                chunk = os.read(fd, _STDERR_PIPE)
                if not chunk:
                    return
                yield chunk


def _launch(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    """Start the launcher; gives why the program could not take its place, if it could not.

    A program on a file system that does not answer is not waited for: it is a silent child.
    """
    told, telling = os.pipe()
    with open(told, "rb") as status:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), str(telling), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,
                pass_fds=(telling,),
                bufsize=0,
            )
        finally:
            os.close(telling)
        poll = select.poll()
        poll.register(status, select.POLLIN)
        if not poll.poll(_LAUNCH_PATIENCE * 1000):
            return process, ""
        return process, status.read().decode()  # ended when the program has replaced the launcher
