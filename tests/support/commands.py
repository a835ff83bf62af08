"""Commands of the exporter, run to their end as a user does."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.exporter import EXPORTER, clean_environment


class Finished(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """Lines on standard error, without the program's name."""
        return [line.removeprefix("neuron-exporter: ") for line in self.err.splitlines()]


def shell_environment(**more: str) -> dict[str, str]:
    """Return the environment of a user's shell, in which Python buffers its output."""
    environment = clean_environment(**more)
    environment.pop("PYTHONUNBUFFERED", None)
    return environment


def run(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    given: str = "",
    seconds: float = 60.0,
) -> Finished:
    """Run `neuron-exporter ARGUMENTS` to its end, with `given` on standard input."""
    return _finish(
        subprocess.run(
            [*EXPORTER, *arguments],
            input=given.encode(),
            capture_output=True,
            env=shell_environment(**(environment or {})),
            timeout=seconds,
            check=False,
        )
    )


def run_in_shell(arguments: str, more: str, seconds: float = 60.0) -> Finished:
    """Run `neuron-exporter ARGUMENTS MORE` in a shell; the status is the exporter's own.

    `more` redirects the output, or pipes it to another program.
    """
    exporter = f"{shlex.join(EXPORTER)} {arguments}"
    command, *rest = more.split("|")
    script = f"{exporter} {command}" + "".join(f"|{part}" for part in rest)
    return _finish(
        subprocess.run(
            ["bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=shell_environment(),
            timeout=seconds,
            check=False,
        )
    )


def _finish(process: subprocess.CompletedProcess[bytes]) -> Finished:
    out, err = (each.decode(errors="surrogateescape") for each in (process.stdout, process.stderr))
    return Finished(process.returncode, out, err)
