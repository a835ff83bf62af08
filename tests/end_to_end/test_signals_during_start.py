"""Signals that arrive while `run` and `demo` import their libraries."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.exporter import EXPORTER, RunningExporter, clean_environment, write_config
from tests.support.processes import children_of, ended
from tests.support.waiting import wait_for

SLOW_STRUCTLOG = """
import os, sys
open(os.environ["GATE"]).read()
sys.path.remove(os.path.dirname(__file__))
del sys.modules[__name__]
import structlog
"""
WITHIN = {"a child": [], "process 1": ["unshare", "--pid", "--fork", "--kill-child"]}
"""What the exporter is, with the command that starts it as that."""


@contextmanager
def importing(
    folder: Path, arguments: Sequence[str], within: Sequence[str] = ()
) -> Iterator[tuple[RunningExporter, Callable[[int], None]]]:
    """Run the exporter until it imports structlog. Return it, and a function that sends it a
    signal. After the first signal, the import goes on."""
    gate, modules = folder / "gate", folder / "modules"
    os.mkfifo(gate)
    modules.mkdir()
    (modules / "structlog.py").write_text(SLOW_STRUCTLOG)
    path = os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [*within, *EXPORTER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(GATE=str(gate), PYTHONPATH=path),
    )
    opened: list[int] = []

    def is_importing() -> bool:
        if process.poll() is None:
            try:
                opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # it has no reader yet
                return False
        return True

    def send(number: int) -> None:
        os.kill(children_of(process.pid)[0] if within else process.pid, number)
        while opened:
            os.close(opened.pop())

    with closing(RunningExporter(process)) as exporter:
        wait_for(is_importing)
        if any("unshare: " in line for line in exporter.raw_log):
            pytest.skip(f"this machine does not allow it: {exporter.raw_log}")
        yield exporter, send


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("command", ["run", "demo"])
def test_stop_signal_during_import(
    tmp_path: Path, number: signal.Signals, within: str, command: str
) -> None:
    """It ends the process with status 0, without a message."""
    arguments = [command, "--listen", "127.0.0.1:0"]
    with importing(tmp_path, arguments, WITHIN[within]) as (exporter, send):
        send(number)
        assert exporter.wait() == 0
    assert exporter.raw_log == []


@pytest.mark.parametrize(
    ("command", "status"), [("simulate", 143), ("record --source simulator", 0)]
)
def test_process_1_obeys_sigterm(command: str, status: int) -> None:
    process = subprocess.Popen(
        [*WITHIN["process 1"], *EXPORTER, *command.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    with ended(process):
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this machine does not allow it")
        os.kill(children_of(process.pid)[0], signal.SIGTERM)
        assert wait_for(lambda: process.poll() is not None)
        assert process.returncode == status


def test_sighup_during_import(tmp_path: Path) -> None:
    """The configuration is reloaded after the start."""
    config = write_config(tmp_path, {"source": {"command": ["/nowhere"]}})
    with importing(tmp_path, ["run", "--config", str(config)]) as (exporter, send):
        send(signal.SIGHUP)
        exporter.wait_for_event("config_reloaded", changed=[])
        assert exporter.stop() == 0


def test_sigusr1_during_import(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"source": {"command": ["/nowhere"]}})
    with importing(tmp_path, ["run", "--config", str(config)]) as (exporter, send):
        send(signal.SIGUSR1)
        exporter.wait_for_event("pausing")
        assert exporter.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signal_during_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The exit status is that of the first reason to stop, whenever another signal arrives."""
    config = write_config(tmp_path, {"source": {"kind": "stdin"}})
    process = subprocess.Popen(
        [*EXPORTER, "run", "--config", str(config)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    with closing(RunningExporter(process)) as exporter:
        exporter.wait_for_event("started")
        assert process.stdin is not None
        process.stdin.close()  # without a report: status 1
        exporter.wait_for_event("stopping")
        while process.poll() is None:
            process.send_signal(number)

        assert exporter.wait() == 1
