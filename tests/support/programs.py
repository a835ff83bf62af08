"""The programs of docker/workloads, run as a user does, in an environment with PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.commands import Finished, shell_environment
from tests.support.paths import ROOT
from tests.support.processes import ended

PROGRAMS = ROOT / "docker" / "workloads"
STANDINS = ROOT / "tests" / "workloads" / "standins"

WARNINGS = "default,ignore:`torch.jit:DeprecationWarning"
"""PyTorch deprecates this format, which Neuron's packages still write."""

TAG = "NEURON_PROCESS_TAG"

WITH_TORCH = ROOT / ".workloads" / "bin" / "python"
"""Interpreter of the environment that `make test-workloads` creates."""

WITH_TORCHVISION = Path("/usr/bin/python3")
"""Debian's interpreter: its torchvision runs on the CPU; the package index has no such build."""


def can_import(python: Path, *modules: str) -> bool:
    """Return whether an interpreter exists and can import these modules."""
    if not python.exists():
        return False
    command = [str(python), "-c", f"import {', '.join(modules)}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Programs:
    """The programs, run by one interpreter in one folder."""

    def __init__(self, python: Path, folder: Path, **environment: str) -> None:
        self.python = python
        self.folder = folder
        self._environment = environment

    def with_stand_in(self, stand_in: str, **environment: str) -> Programs:
        """Return these programs with a stand-in for a missing package, and more variables."""
        more = {**environment, "PYTHONPATH": str(STANDINS / stand_in)}
        return Programs(self.python, self.folder, **{**self._environment, **more})

    def run(self, program: str, *arguments: str, seconds: float = 120.0) -> Finished:
        """Run a program to its end."""
        done = subprocess.run(
            self._command(program, *arguments),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=self._variables(),
            timeout=seconds,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def succeed(self, program: str, *arguments: str) -> str:
        """Run a program that must succeed, and return its output."""
        done = self.run(program, *arguments)
        assert done.status == 0, done.err
        return done.out

    def evaluate(self, code: str) -> Any:
        """Run Python code that imports the programs, and return the JSON that it prints."""
        done = subprocess.run(
            [str(self.python), "-c", code],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._variables(PYTHONPATH=str(PROGRAMS)),
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    @contextmanager
    def running(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program beside the test; its standard output is a pipe."""
        process = subprocess.Popen(
            self._command(program, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self._variables(),
        )
        with ended(process):
            yield process

    def on_a_terminal(self, program: str, *arguments: str) -> str:
        """Run a program that must succeed, with a terminal as standard error; return its text."""
        ours, theirs = os.openpty()
        with open(ours, "rb", buffering=0) as terminal:
            try:
                done = subprocess.run(
                    self._command(program, *arguments),
                    stdout=subprocess.DEVNULL,
                    stderr=theirs,
                    cwd=self.folder,
                    env=self._variables(),
                    timeout=120,
                    check=False,
                )
                shown = terminal.read(1 << 16).decode()
            finally:
                os.close(theirs)
        assert done.returncode == 0, shown
        return shown

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(self.python), str(PROGRAMS / program), *arguments]

    def _variables(self, **more: str) -> Mapping[str, str]:
        # On two cores that other tests use as well, a second thread of PyTorch only waits.
        fixed = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": WARNINGS}
        variables = shell_environment(**{**fixed, **self._environment, **more})
        if TAG not in self._environment:
            variables.pop(TAG, None)
        return variables


def metrics_url(process: subprocess.Popen[str]) -> str:
    """Return the URL of a program's metrics, which it prints at its start."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("metrics: "):
            return line.removeprefix("metrics: ").strip()
    raise AssertionError(f"the program ended: {process.stderr.read() if process.stderr else ''}")


def file_names(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return set(os.listdir(folder))
