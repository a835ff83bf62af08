"""Run other programs, which may hang in a faulty driver, within a time limit."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environment is None else dict(environment),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
        return Output(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        return _kill(process)
    except BaseException:  # Ctrl-C: the program has a session of its own and would go on
        _kill(process)
        raise


def run_until_silent(command: Sequence[str], timeout: float) -> Output:
    """Run a program, and end it once it has printed nothing for `timeout` seconds.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None  # nosec B101 # for the type checker
    descriptor, chunks = process.stdout.fileno(), list[bytes]()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        while poll.poll(timeout * 1000):
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                process.communicate(timeout=timeout)
                return Output(process.returncode, b"".join(chunks))
            chunks.append(chunk)
    except subprocess.TimeoutExpired:
        pass
    except BaseException:
        _kill(process)
        raise
    return _kill(process)._replace(out=b"".join(chunks))


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
