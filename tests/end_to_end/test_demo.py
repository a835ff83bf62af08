"""`demo`: the exporter on a simulated machine, until a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

from tests.support.clients import get
from tests.support.commands import run, shell_environment
from tests.support.exporter import EXPORTER
from tests.support.processes import alive, children_of, ended, listening_port
from tests.support.waiting import wait_for

ANYWHERE = ("--listen", "127.0.0.1:0")
TABLE = re.compile(r"UTC, namespace NeuronExporter: 1 request, (\d+) datums, (\d+) metrics")
METRIC = re.compile(r"^  ([A-Z]\w+)", re.MULTILINE)
TOTAL = re.compile(
    r"CloudWatch would have received (\d+) datums for (\d+) metrics, in (\d+) request\(s\)\."
)


@contextmanager
def demo(*flags: str, stdout: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Run the demonstration in an environment with invalid settings, which it ignores."""
    process = subprocess.Popen(
        [*EXPORTER, "demo", *ANYWHERE, *flags],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=shell_environment(NEURON_EXPORTER__LOG__LEVEL="loud"),
        text=True,
    )
    with ended(process):
        yield process


def introduction(process: subprocess.Popen[str]) -> str:
    """Return the text up to the advice how to stop."""
    output = ""
    assert process.stdout is not None
    while "Stop with Ctrl-C." not in output:
        line = process.stdout.readline()
        assert line, f"exited: {output}"
        output += line
    return output


def cores(port: int) -> int:
    """Return the number of NeuronCores in a scrape."""
    return get(port, "/metrics").body.count(b"\nneuroncore_utilization_ratio{")


@pytest.mark.parametrize(
    ("flags", "machine", "count", "number"),
    [
        ((), "trn1.32xlarge: 4 runtimes, scenario inference", 32, signal.SIGINT),
        (
            ("--instance-type", "inf2.xlarge", "--scenario", "idle"),
            "inf2.xlarge: 0 runtimes, scenario idle",
            2,
            signal.SIGTERM,
        ),
    ],
)
def test_demo_until_signal(
    flags: tuple[str, ...], machine: str, count: int, number: signal.Signals
) -> None:
    """The page and the metrics are served, a summary ends the output, and no process remains."""
    with demo(*flags) as process:
        output = introduction(process)
        assert f"on a simulated {machine}\n" in output
        page, metrics = map(urlsplit, re.findall(r"http://\S+", output))
        assert page.port == metrics.port
        assert (page.path, metrics.path) == ("/", "/metrics")
        port = page.port or 0
        wait_for(lambda: cores(port) == count)
        wait_for(lambda: b"\nneurondevice_power_utilization_ratio{" in get(port, "/metrics").body)
        assert get(port, page.path).body.startswith(b"<!doctype html>")
        started = children_of(process.pid)
        assert started

        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert errors == ""
    assert not any(map(alive, started))
    *tables_shown, last = rest.splitlines()
    total = TOTAL.fullmatch(last)
    tables = TABLE.findall("\n".join(tables_shown))
    assert total is not None
    assert tables
    assert int(total[1]) == sum(int(datums) for datums, _ in tables)
    # Windows may lack metrics: the last one has no heartbeat.
    assert int(total[2]) == len(set(METRIC.findall("\n".join(tables_shown))))
    assert int(total[3]) == len(tables)
    assert any(row.split()[:1] == ["NeuronCoreUtilization"] for row in tables_shown)


def test_signal_right_after_start() -> None:
    with demo() as process:
        introduction(process)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert TOTAL.fullmatch(rest.splitlines()[-1])


@pytest.fixture
def closed_pipe() -> Iterator[IO[bytes]]:
    """Return the writing end of a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as file:
        yield file


def test_closed_standard_output(closed_pipe: IO[bytes]) -> None:
    with demo(stdout=closed_pipe) as process:
        port = wait_for(lambda: listening_port(process.pid))
        wait_for(lambda: cores(port) == 32)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_full_disk() -> None:
    with open("/dev/full", "wb") as full, demo(stdout=full) as process:
        port = wait_for(lambda: listening_port(process.pid))
        wait_for(lambda: cores(port) == 32)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    message = "neuron-exporter: the output cannot be written: No space left on device\n"
    assert errors == message


def test_instance_type_without_neuron_devices() -> None:
    finished = run("demo", "--instance-type", "p4d.24xlarge")
    assert (finished.status, finished.out) == (2, "")
    advice = "`neuron-exporter instance-types` lists types that do"
    problem = f"--instance-type: has no Neuron devices; {advice} (got 'p4d.24xlarge')"
    assert finished.error_lines == [problem]


def test_all_invalid_flags_at_once() -> None:
    finished = run(
        *("demo", "--instance-type", "trn1.32xlage", "--scenario", "idel", "--listen", "9415")
    )
    assert (finished.status, finished.out) == (2, "")
    machine, scenario, listen = finished.error_lines
    assert machine.startswith("--instance-type: unknown type; did you mean trn1.32xlarge or ")
    assert machine.endswith("? (got 'trn1.32xlage')")
    assert scenario == "--scenario: unknown scenario; did you mean idle? (got 'idel')"
    assert listen.startswith("--listen: prometheus.listen: must be HOST:PORT")
    assert listen.endswith(" (got '9415')")
