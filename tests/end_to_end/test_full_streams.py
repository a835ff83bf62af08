"""Standard output and standard error that are full and not read hold up nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.children import child
from tests.support.clients import get
from tests.support.endpoint import Endpoint
from tests.support.exporter import EXPORTER, clean_environment, simulated, write_config
from tests.support.fleet import CREDENTIALS
from tests.support.full_pipe import FullPipe, full_pipe
from tests.support.injected_fault import InjectedFault
from tests.support.patched import patched
from tests.support.processes import alive, ended, listening_port
from tests.support.supervised import ENTRY_POINT, command_line, descendants, variables
from tests.support.waiting import wait_for

DROPPED = "neuron_exporter_log_lines_dropped_total"
RELOADS = "neuron_exporter_config_reloads_total"
REPORTS = "neuron_exporter_reports_total"


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    """Open a full pipe."""
    with full_pipe() as opened:
        yield opened


@contextmanager
def started(
    pipe: FullPipe,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of the exporter whose standard error is the pipe."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.DEVNULL, "stderr": pipe.writing, **more},
        env=clean_environment(**(environment or {})),
    )
    pipe.close_writing()
    with ended(process):
        yield process


def port_of(process: subprocess.Popen[bytes]) -> int:
    """Return the port on which the exporter listens, as soon as it does."""
    return wait_for(lambda: listening_port(process.pid)) or 0


def value(port: int, name: str) -> float:
    """Return the sum of a family's samples of this name in a scrape."""
    families = text_string_to_metric_families(get(port, "/metrics").body.decode())
    return sum(each.value for family in families for each in family.samples if each.name == name)


def test_full_stderr_holds_up_nothing(tmp_path: Path, pipe: FullPipe, endpoint: Endpoint) -> None:
    """Reports are read, scraped and sent; lines above the limit are dropped, counted and reported
    when the reader goes on; a stop ends with status 0."""
    sink = {"enabled": True, "region": "us-east-1", "endpoint_url": endpoint.url}
    config = {"source": simulated(), "cloudwatch": {**sink, "flush_interval": "1s"}}
    path = write_config(tmp_path, config)
    valid = path.read_text()
    command = [*patched("short-log-queue"), "run", "--config", str(path)]
    with started(pipe, command, CREDENTIALS) as process:
        port = port_of(process)
        wait_for(lambda: value(port, REPORTS) >= 3 and endpoint.datums())
        path.write_text("".join(f"unknown{number}: 1\n" for number in range(100)))
        while not value(port, DROPPED):  # a reload logs all errors of the file
            attempts = value(port, RELOADS)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda n=attempts: value(port, RELOADS) > n)  # type: ignore[misc]
        path.write_text(valid)
        assert get(port, "/healthz").body == b"ok\n"
        assert value(port, "neuron_exporter_up") == 1

        events = (json.loads(line) for line in pipe.lines())
        reported = next(each for each in events if each["event"] == "log_lines_dropped")
        assert 0 < reported["lines"] <= value(port, DROPPED)
        process.send_signal(signal.SIGTERM)
        assert [each["event"] for each in events][-1] == "stopped"
        assert process.wait(60) == 0


def test_stop_with_full_stderr(tmp_path: Path, pipe: FullPipe) -> None:
    config = {"source": {"command": child("report", "forever"), "period": "1s"}}
    command = [*EXPORTER, "run", "--config", str(write_config(tmp_path, config))]
    with started(pipe, command) as process:
        port = port_of(process)
        wait_for(lambda: value(port, REPORTS) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    "arguments", ["run --listen nowhere", "run --nonsense", "check --config /"]
)
def test_error_with_full_stderr(pipe: FullPipe, arguments: str) -> None:
    with started(pipe, [*EXPORTER, *arguments.split()]) as process:
        assert process.wait(60) == 2


@pytest.mark.parametrize("place", ["pipeline.build:build", "daemon.daemon:Daemon.run"])
def test_traceback_with_full_stderr(tmp_path: Path, pipe: FullPipe, place: str) -> None:
    fault = InjectedFault(tmp_path, f"neuron_exporter.{place}", RuntimeError)
    fault.enable()
    command = [*fault.command, "run", "--source", "simulator", "--listen", "127.0.0.1:0"]
    with started(pipe, command) as process:
        assert process.wait(60) == 1


def test_demo_with_full_output(pipe: FullPipe) -> None:
    with started(
        pipe, [*EXPORTER, "demo", "--listen", "127.0.0.1:0"], stdout=pipe.writing
    ) as process:
        port = port_of(process)
        wait_for(lambda: value(port, REPORTS) >= 2)
        assert get(port, "/healthz").body == b"ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_traceback_is_written(tmp_path: Path) -> None:
    fault = InjectedFault(tmp_path, "neuron_exporter.pipeline.build:build", RuntimeError)
    fault.enable()
    finished = subprocess.run(
        [*fault.command, "run", "--source", "simulator"],
        env=clean_environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.endswith(b"\nRuntimeError: planted\n")


@contextmanager
def container(
    folder: Path, pipe: FullPipe, *flags: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the image's entry point whose standard error is the pipe."""
    command = [str(ENTRY_POINT), *flags]
    with started(pipe, command, variables(folder, **environment)) as process:
        try:
            yield process
        finally:
            for pid in descendants(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def exporter_of(entry_point: int) -> int | None:
    """Return the id of the exporter below an entry point once it listens."""
    for pid in descendants(entry_point):
        if "-m neuron_exporter run" in command_line(pid) and listening_port(pid):
            return pid
    return None


def test_supervisor_with_full_stderr(tmp_path: Path, pipe: FullPipe) -> None:
    """The exporter is restarted and stopped; when the reader goes on, it gets the number of lines
    that were dropped."""
    config = {"source": {"command": child("report", "forever"), "period": "1s"}}
    flags = ["--config", str(write_config(tmp_path, config))]
    with container(tmp_path, pipe, *flags) as process:
        first = wait_for(lambda: exporter_of(process.pid)) or 0
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not alive(first))
        assert wait_for(lambda: exporter_of(process.pid)) != first
        lines = pipe.lines()
        process.send_signal(signal.SIGTERM)
        assert any("lines of supervisord dropped: " in line for line in lines)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ([], {"NEURON_EXPORTER_STARTSECS": "soon"}),
        (["--nonsense"], {}),
        (["--source", "stdin", "--listen", "127.0.0.1:0"], {"NEURON_EXPORTER_STARTRETRIES": "0"}),
    ],
    ids=["invalid variable", "invalid flag", "restarts exhausted"],
)
def test_container_ends_with_full_stderr(
    tmp_path: Path, pipe: FullPipe, flags: list[str], environment: dict[str, str]
) -> None:
    with container(tmp_path, pipe, *flags, **environment) as process:
        assert process.wait(60) == 2
