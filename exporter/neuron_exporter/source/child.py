"""A child process that ends with all its descendants, with its standard error drained."""

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

from neuron_exporter.source.orphans import adopt_orphans, kill_orphans_of
from neuron_exporter.source.stream import WakeupPipe
from neuron_exporter.text import MAX_MESSAGE_LENGTH, sanitize_text

_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_MAX_STDERR_LINE = 4096
_PIPE_CAPACITY = 65536
_POLL_INTERVAL = 0.01
_KILL_TIMEOUT = 1.0
_LAUNCH_TIMEOUT = 5.0


class SpawnError(Exception):
    """The program exists but cannot be started."""


class Backoff:
    """Delays (s) that double from `first` to `max_delay`, each reduced at random by up to half."""

    def __init__(
        self, first: float = 1.0, max_delay: float = 60.0, rng: random.Random | None = None
    ) -> None:
        self._first = first
        self._max_delay = max_delay
        self._rng = rng or random.Random()  # noqa: S311 # jitter needs no secure randomness
        self._delay = 0.0

    def next(self) -> float:
        """Return the delay before the next attempt, in seconds."""
        self._delay = min(self._max_delay, self._delay * 2 or self._first)
        return self._rng.uniform(self._delay / 2, self._delay)

    def reset(self) -> None:
        """Start again from the first delay."""
        self._delay = 0.0


class Child:
    """A running program in its own session.

    Create and stop it in one thread: the kernel kills it when that thread ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_stderr: Callable[[str], None],
    ) -> None:
        """Start `command`, whose first word is the path of the program.

        Raises:
            SpawnError: the program cannot be started.
        """
        adopt_orphans()
        try:
            self._process, reason = _launch(command, environment)
        except (OSError, ValueError) as error:  # a NUL in an argument is a ValueError
            reason = getattr(error, "strerror", None) or str(error)
            raise SpawnError(f"{command[0]}: {reason}") from error
        if reason:
            self._process.communicate()
            raise SpawnError(f"{command[0]}: {reason}")
        assert self._process.stdout is not None  # noqa: S101 # for the type checker
        self.stdout: int = self._process.stdout.fileno()
        self._reaped: WakeupPipe | None = WakeupPipe()
        # Unless its standard error is read, the child blocks after writing 64 KiB to it.
        self._drain = threading.Thread(
            target=self._drain_stderr, args=(on_stderr, self._reaped), name="stderr", daemon=True
        )
        self._drain.start()

    @property
    def pid(self) -> int:
        """Process id of the child, and id of its process group."""
        return self._process.pid

    def ended(self) -> bool:
        """Return whether the child has ended. Its id stays in use until `stop` reaps it."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def stop(self, timeout: float) -> int | None:
        """End the child and its descendants. Return its exit status, negative for a signal.

        Return None if not even SIGKILL ends it, as when it is blocked in the kernel by a faulty
        driver. Call again later in that case.

        Its group gets SIGTERM; then its descendants are killed, those in other sessions too. This
        happens before the child is reaped, since its id may be reused afterwards.
        """
        if not self.ended():
            self._signal_group(signal.SIGTERM)
            self._wait_for_end(timeout)
        self._signal_group(signal.SIGKILL)
        if not self._wait_for_end(_KILL_TIMEOUT):
            return None
        until = time.monotonic() + _KILL_TIMEOUT
        while kill_orphans_of(self.pid) and time.monotonic() < until:
            time.sleep(_POLL_INTERVAL)
        status = self._process.wait()
        if self._reaped is not None:
            self._reaped.wake()
            self._reaped = None  # the pipe closes once the thread has ended as well
        self._drain.join(_KILL_TIMEOUT)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not (pipe is self._process.stderr and self._drain.is_alive()):
                pipe.close()
        return status

    def _wait_for_end(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while not (ended := self.ended()) and time.monotonic() < until:
            time.sleep(_POLL_INTERVAL)
        return ended

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _drain_stderr(self, on_line: Callable[[str], None], reaped: WakeupPipe) -> None:
        def pass_on(line: bytes) -> None:
            if line.strip():
                text = line[:_MAX_STDERR_LINE].decode("utf-8", "replace").strip()
                on_line(sanitize_text(text, MAX_MESSAGE_LENGTH))

        rest = b""
        for chunk in self._read_stderr(reaped.fileno()):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_STDERR_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                pass_on(line)
        pass_on(rest)

    def _read_stderr(self, reaped: int) -> Iterator[bytes]:
        assert self._process.stderr is not None  # noqa: S101 # for the type checker
        fd = self._process.stderr.fileno()
        poll = select.poll()
        for each in (fd, reaped):
            poll.register(each, select.POLLIN)
        last = False
        while not last:
            # A process that cannot be killed may keep the pipe open for ever. Once the child is
            # reaped, one more read gets everything that the child can have written.
            ready = dict(poll.poll())
            last = reaped in ready
            if fd in ready:
                chunk = os.read(fd, _PIPE_CAPACITY)
                if not chunk:
                    return
                yield chunk


def _launch(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    """Start the launcher. Return its process, and the reason if it could not start the program.

    On a file system that does not respond, the exporter stops waiting after 5 s and treats the
    process as a silent child.
    """
    reading, writing = os.pipe()
    with open(reading, "rb") as status:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), str(writing), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,
                pass_fds=(writing,),
                bufsize=0,
            )
        finally:
            os.close(writing)
        poll = select.poll()
        poll.register(status, select.POLLIN)
        if not poll.poll(_LAUNCH_TIMEOUT * 1000):
            return process, ""
        return process, status.read().decode()  # ends when the program replaces the launcher
