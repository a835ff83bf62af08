"""Output of a container under a real Docker daemon: two streams, and readers that are stuck."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.docker_engine import Engine, EngineContainer
from tests.support.emf import published
from tests.support.processes import alive
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

EMF = {
    "NEURON_EXPORTER__CLOUDWATCH__ENABLED": "true",
    "NEURON_EXPORTER__CLOUDWATCH__TRANSPORT": "emf",
    "NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL": "2s",
    "NEURON_EXPORTER__IDENTITY__INSTANCE_ID": "i-0123456789abcdef0",
    "NEURON_EXPORTER__IDENTITY__INSTANCE_TYPE": "trn1.2xlarge",
}

DROPPED = "neuron_exporter_log_lines_dropped_total"
RELOADS = "neuron_exporter_config_reloads_total"
REPORTS = "neuron_exporter_reports_total"

Stuck = tuple[EngineContainer, Callable[[], None]]
"""A container, and what lets its reader go on."""

MAX_BYTES = 256 * 1024 * 1024
"""Bound on what is written to a stream whose reader is not stuck after all."""


@pytest.mark.parametrize("command", [(), ("run",)])
def test_metrics_are_alone_on_standard_output(engine: Engine, command: tuple[str, ...]) -> None:
    """Standard output has nothing but valid lines in the Embedded Metric Format, until the end;
    logs are on standard error."""
    with engine.container(command=command, **EMF) as running:
        wait_for(lambda: len(running.streams()[0]) >= 4, every=0.2)
        assert running.stop_within(30) == 0
        out, err = running.streams()
        names = {name for name, _, _ in published(out)}
        assert {"NeuronCoreUtilization", "ExporterHeartbeat"} <= names
        assert b'"stopped"' in b"".join(err)
        assert b"_aws" not in b"".join(err)


def fill(pid: int, descriptor: int) -> None:
    """Write to a stream of a process until its reader takes nothing any more."""
    line = b"x" * 4095 + b"\n"
    written = 0
    stream = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while select.select([], [stream], [], 2)[1]:
            assert written < MAX_BYTES, "the reader is not stuck"
            written += os.write(stream, line)
    finally:
        os.close(stream)


@contextmanager
def stuck_client(engine: Engine, *options: str, command: tuple[str, ...]) -> Iterator[Stuck]:
    """Run a container with an attached client that has been stopped in its shell."""
    with engine.container(*options, attached=True, command=command, **EMF) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        os.kill(running.process.pid, signal.SIGSTOP)
        yield running, lambda: os.kill(running.process.pid, signal.SIGCONT)


@contextmanager
def stuck_driver(
    engine: Engine, path: Path, *options: str, command: tuple[str, ...]
) -> Iterator[Stuck]:
    """Run a container whose log driver has a server, at this path, that never reads."""
    driver = ("--log-driver=syslog", f"--log-opt=syslog-address=unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with engine.container(*options, *driver, command=command, **EMF) as running:
            connection, _ = server.accept()
            with connection:
                running.wait_for_value("neuron_exporter_up", 1)

                def release() -> None:
                    server.close()  # first: the driver connects again
                    connection.close()

                try:
                    yield running, release
                finally:
                    release()


@pytest.mark.parametrize("command", [(), ("run",)])
@pytest.mark.parametrize("reader", ["client", "driver"])
def test_stuck_reader(
    engine: Engine, tmp_path: Path, reader: str, command: tuple[str, ...]
) -> None:
    """While nothing reads the container's output, the exporter measures and answers, counts what it
    drops, and stops with 0. The engine itself waits for the reader."""
    file = tmp_path / "exporter.yaml"
    file.write_text("")
    mount = f"--volume={tmp_path}:/etc/exporter:ro"
    arguments = (*command, "--config", "/etc/exporter/exporter.yaml")
    if reader == "client":
        stuck = stuck_client(engine, mount, command=arguments)
    else:
        stuck = stuck_driver(engine, tmp_path / "syslog", mount, command=arguments)
    with stuck as (running, release):
        first, exporter = running.pid, running.exporter
        for descriptor in (1, 2):
            fill(exporter, descriptor)
        file.write_text("".join(f"unknown{number}: 1\n" for number in range(100)))
        while not total(running, DROPPED):  # a reload logs all errors of the file
            reloads = total(running, RELOADS)
            os.kill(exporter, signal.SIGHUP)
            wait_for(lambda n=reloads: total(running, RELOADS) > n)  # type: ignore[misc]
        running.wait_for_value("neuron_exporter_sink_up", 0, sink="cloudwatch")
        reports = total(running, REPORTS)
        wait_for(lambda: total(running, REPORTS) > reports)
        os.kill(first, signal.SIGTERM)
        wait_for(lambda: not alive(first), 30)
        assert not alive(exporter)
        release()
        assert running.wait() == 0


def total(running: EngineContainer, name: str) -> float:
    """Return the sum of the samples with this name in a scrape."""
    samples = (each for family in running.families().values() for each in family.samples)
    return sum(each.value for each in samples if each.name == name)
