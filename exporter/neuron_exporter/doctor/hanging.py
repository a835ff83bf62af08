"""Run other programs, which may hang in a faulty driver, within a time limit."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

HUNG = -(2**16)
"""Exit status of a program that did not end in time; no signal has this number."""

_KILL_TIMEOUT = 0.5
_CHUNK = 65536


class Output(NamedTuple):
    """Exit status and output of a program; the output of a hanging one is incomplete."""

    status: int
    out: bytes
    err: bytes = b""


def run_limited(
    command: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> Output:
    """Run a program for at most `timeout` seconds, and end it with its children.

    Raises:
        OSError: it cannot be started.
    """
    with _started(command, subprocess.PIPE, environment) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return _kill(process)
        return Output(process.returncode, out, err)


def run_until_silent(command: Sequence[str], timeout: float) -> Output:
    """Run a program, and end it once it has printed nothing for `timeout` seconds.

    Raises:
        OSError: it cannot be started.
    """
    with _started(command, subprocess.DEVNULL) as process:
        assert process.stdout is not None  # noqa: S101 # for the type checker
        descriptor, out = process.stdout.fileno(), bytearray()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while poll.poll(timeout * 1000):
            chunk = os.read(descriptor, _CHUNK)
            out += chunk
            if not chunk:
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=timeout)
                    return Output(process.returncode, bytes(out))
                break
        return _kill(process)._replace(out=bytes(out))


@contextmanager
def _started(
    command: Sequence[str], stderr: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own, and kill it if the body raises: Ctrl-C does not
    reach it."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> Output:
    """Kill a program, without waiting for one that hangs in the kernel."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        out, err = process.communicate(timeout=_KILL_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        process.returncode = HUNG  # keeps Popen from waiting for it later
        out, err = error.stdout or b"", error.stderr or b""
    return Output(HUNG, out, err)
