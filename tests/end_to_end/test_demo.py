"""The demonstration: everything on a simulated machine, until Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
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
TOTAL = re.compile(
    r"CloudWatch would have got (\d+) datums for (\d+) metrics, in (\d+) request\(s\)\."
)


@contextmanager
def demo(*flags: str, stdout: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A running demonstration; what is set in the environment does not concern it."""
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
    """What it says first, up to its advice how to end it."""
    said = ""
    assert process.stdout is not None
    while "Ctrl-C ends it." not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {said}"
        said += line
    return said


def cores(port: int) -> int:
    """How many NeuronCores a scrape shows."""
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
def test_it_shows_everything_until_a_signal(
    flags: tuple[str, ...], machine: str, count: int, number: signal.Signals
) -> None:
    """It says where page and metrics are, and both answer; Ctrl-C ends it within two seconds, with
    what CloudWatch would have got as its last words, and nothing that it started is left."""
    with demo(*flags) as process:
        said = introduction(process)
        assert f"on a simulated {machine}\n" in said
        page, metrics = map(urlsplit, re.findall(r"http://\S+", said))
        assert page.port == metrics.port
        assert (page.path, metrics.path) == ("/", "/metrics")
        port = page.port or 0
        wait_for(lambda: cores(port) == count)
        assert get(port, page.path).body.startswith(b"<!doctype html>")
        started = children_of(process.pid)
        assert started

        asked = time.monotonic()
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=10)
        assert time.monotonic() - asked < 2

    assert process.returncode == 0
    assert complaints == ""
    assert not any(map(alive, started))
    *shown, last = rest.splitlines()
    total = TOTAL.fullmatch(last)
    tables = TABLE.findall("\n".join(shown))
    assert total is not None
    assert tables
    assert int(total[1]) == sum(int(datums) for datums, _ in tables)
    assert int(total[2]) == max(int(metrics) for _, metrics in tables)
    assert int(total[3]) == len(tables)
    assert any(row.split()[:1] == ["NeuronCoreUtilization"] for row in shown)


def test_a_signal_right_after_the_start_is_obeyed() -> None:
    """Whoever changes his mind at once waits no longer than others."""
    with demo() as process:
        introduction(process)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=10)
        assert time.monotonic() - asked < 2
    assert (process.returncode, complaints) == (0, "")
    assert TOTAL.fullmatch(rest.splitlines()[-1])


@pytest.fixture
def unread() -> Iterator[IO[bytes]]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as file:
        yield file


def test_it_goes_on_when_nobody_reads(unread: IO[bytes]) -> None:
    """Where the reader of standard output leaves, the demonstration still serves what it shows."""
    with demo(stdout=unread) as process:
        port = wait_for(lambda: listening_port(process.pid))
        wait_for(lambda: cores(port) == 32)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=10)
    assert (process.returncode, complaints) == (0, "")


def test_a_full_disk_is_said_at_the_end() -> None:
    """What it shows can be lost without ending it; that it was lost is a failure, in one line."""
    with open("/dev/full", "wb") as full, demo(stdout=full) as process:
        port = wait_for(lambda: listening_port(process.pid))
        wait_for(lambda: cores(port) == 32)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=10)
    assert process.returncode == 1
    message = "neuron-exporter: the output cannot be written: No space left on device\n"
    assert complaints == message


def test_all_wrong_flags_are_told_at_once() -> None:
    """Machine, scenario and address are judged together, with what was given and what was meant."""
    finished = run(
        *("demo", "--instance-type", "trn1.32xlage", "--scenario", "idel", "--listen", "9415")
    )
    assert (finished.status, finished.out) == (2, "")
    machine, scenario, listen = finished.complaints
    assert machine.startswith("--instance-type: did you mean trn1.32xlarge or ")
    assert machine.endswith("? (got 'trn1.32xlage')")
    assert scenario == "--scenario: did you mean idle? (got 'idel')"
    assert listen.startswith("--listen: prometheus.listen: must be HOST:PORT")
    assert listen.endswith(" (got '9415')")
