"""The compared programs: each is fed through a pipe and read over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.support.endpoint import Endpoint
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.waiting import wait_for

AWS_SCRIPT = os.environ.get("AWS_PROMETHEUS_SCRIPT", "")
"""Path of AWS's neuron-monitor-prometheus.py, which is part of aws-neuronx-tools."""


class Build(NamedTuple):
    """The interpreter that runs the programs, and the checkout of the exporter."""

    python: str = sys.executable
    checkout: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program."""
        return {**os.environ, "PYTHONPATH": f"{self.checkout}/exporter:{ROOT}"}

    def description(self) -> str:
        """Return the interpreter's version, and whether it was built with optimizations."""
        printed = subprocess.run(
            [self.python, "-c", _DESCRIBE], check=True, capture_output=True, text=True
        )
        return f"{self.python}: {printed.stdout.strip()}"


_DESCRIBE = """
import platform, sysconfig
get = sysconfig.get_config_var
flags = f"{get('CONFIG_ARGS')} {get('PY_CFLAGS')} {get('PY_CORE_CFLAGS')}"
marks = "--enable-optimizations", "-fprofile-use", "--with-lto", "-flto"
found = [each for each in marks if each in flags]
print(platform.python_version(), "built with", ", ".join(found) or f"no more than {get('OPT')}")
"""


class Program:
    """A running program. Times are in seconds, sizes in MiB."""

    def __init__(
        self,
        pid: int,
        feed: IO[bytes],
        port: int,
        endpoint: Endpoint | None,
        started: float,
        otlp: OtlpReceiver | None = None,
    ) -> None:
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}"
        self.endpoint = endpoint
        self.otlp = otlp
        self._started = started
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self._feed = feed
        self._serving: str | None = None
        self._clock = ~pid << 3 | 2  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3)

    def feed(self, line: bytes) -> None:
        """Write one report to it."""
        self._feed.write(line)
        self._feed.flush()

    def seconds_to_first_scrape(self, line: bytes) -> float:
        """Feed the first report, and return the time from the start to a scrape that shows it."""
        self.feed(line)
        while b"\nneuroncore_utilization_ratio{" not in self.scrape():
            time.sleep(0.005)
        return time.monotonic() - self._started

    def scrape(self, encoding: str = "identity") -> bytes:
        """Read its metrics over a kept connection."""
        self.connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
        return self.connection.getresponse().read()

    @property
    def has_flushed(self) -> bool:
        """Whether it has sent its first metrics, if it sends any: this imports and connects."""
        started = self.endpoint is None or bool(self.endpoint.requests)
        return started and (self.otlp is None or self.otlp.requests > 0)

    @property
    def sent(self) -> int:
        """Number of requests that it has sent."""
        by_otlp = 0 if self.otlp is None else self.otlp.requests
        return by_otlp + (0 if self.endpoint is None else len(self.endpoint.requests))

    @property
    def series(self) -> int:
        """Number of series it exposes."""
        return sum(not line.startswith(b"#") for line in self.scrape().splitlines())

    @property
    def cpu(self) -> float:
        """User and system time of all its threads so far, of those that have ended too."""
        return time.clock_gettime(self._clock)

    @property
    def serving_cpu(self) -> float:
        """User and system time of the thread that serves our connection so far."""
        if self._serving is None:
            before = self._threads().keys()
            self.scrape()
            (self._serving,) = self._threads().keys() - before
        return int(self._threads()[self._serving].split()[0]) / 1e9

    def _threads(self) -> dict[str, str]:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return {task.name: (task / "schedstat").read_text() for task in tasks}

    @property
    def wakeups(self) -> int:
        """Voluntary context switches of its threads so far."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(_field(task / "status", "voluntary_ctxt_switches") for task in tasks)

    @property
    def resident(self) -> float:
        """Its resident memory now."""
        return _field(Path(f"/proc/{self.pid}/status"), "VmRSS") / 1024

    @property
    def proportional(self) -> float:
        """Its proportional set size now: shared pages are divided by the number of their users."""
        return _field(Path(f"/proc/{self.pid}/smaps_rollup"), "Pss") / 1024

    @property
    def written(self) -> float:
        """What it has caused to be written to disks so far."""
        return _field(Path(f"/proc/{self.pid}/io"), "write_bytes") / 2**20


def _field(path: Path, name: str) -> int:
    found = (line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(next(found).split()[1])


@contextmanager
def usual_way(build: Build) -> Iterator[Program]:
    """Start the usual way: `aws_script`."""
    with _piped([build.python, "-m", "tests.benchmarks.aws_script"], build) as (process, started):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with _program(process, process.stdin, port, None, started) as program:
            yield program


@contextmanager
def aws_prometheus_script(build: Build) -> Iterator[Program]:
    """Start AWS's own script."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [build.python, AWS_SCRIPT, "--port", str(port)]
    with _piped(command, build) as (process, started):
        wait_for(lambda: _answers(port))
        with _program(process, process.stdin, port, None, started) as program:
            yield program


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def _piped(command: list[str], build: Build) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    # The exporter sets its number of malloc arenas itself.
    environment = {**build.environment, "MALLOC_ARENA_MAX": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    started = time.monotonic()
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield process, started


@contextmanager
def exporter(
    endpoint: Endpoint | None,
    build: Build,
    *,
    flush_interval: str = "1s",
    sections: Mapping[str, Any] = {},
    variables: Mapping[str, str] = {},
    otlp: OtlpReceiver | None = None,
    otlp_interval: str = "60s",
) -> Iterator[Program]:
    """Start the exporter, with CloudWatch enabled if an endpoint is given, and OTLP if a receiver
    is given.

    In place of neuron-monitor runs a program that sleeps, into whose output reports are written.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        monitor = folder / "neuron-monitor"
        monitor.write_text("#!/bin/sh\nexec sleep infinity\n")
        monitor.chmod(0o755)
        config: dict[str, Any] = {
            "source": {"command": [str(monitor)]},
            "prometheus": {"listen": "127.0.0.1:0"},
            "identity": {"imds": False},
            **sections,
        }
        if endpoint is not None:
            config["cloudwatch"] = {
                "enabled": True,
                "endpoint_url": endpoint.url,
                "flush_interval": flush_interval,
                "spool": {"path": f"{folder}/spool.db"},
            }
        if otlp is not None:
            config["otlp"] = {
                "enabled": True,
                "endpoint": otlp.url,
                "interval": otlp_interval,
                "spool": {"path": f"{folder}/otlp-spool.db"},
            }
        (folder / "exporter.yaml").write_text(json.dumps(config))
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        command = [build.python, "-m", "neuron_exporter", "run"]
        started = time.monotonic()
        process = stack.enter_context(
            subprocess.Popen(
                [*command, "--config", f"{folder}/exporter.yaml", "--log.format", "json"],
                stderr=subprocess.PIPE,
                env={**build.environment, **credentials, **variables},
            )
        )
        stack.callback(process.terminate)
        port = _port_in_log(process)
        child = wait_for(lambda: _sleeping_child(process.pid))
        feed = stack.enter_context(open(f"/proc/{child}/fd/1", "wb"))
        with _program(process, feed, port, endpoint, started, otlp) as program:
            yield program
            process.terminate()  # before its source ends


def _sleeping_child(pid: int) -> int | None:
    """Return the program in place of neuron-monitor, once it has replaced what starts it."""
    for child in children_of(pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                return child
    return None


def _port_in_log(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None
    log = process.stderr
    for line in log:
        if b'"started"' in line:
            threading.Thread(target=log.read, daemon=True).start()
            return int(json.loads(line)["url"].rpartition(":")[2])
    raise RuntimeError("the exporter did not start")


@contextmanager
def _program(
    process: subprocess.Popen[bytes],
    feed: IO[bytes] | None,
    port: int,
    endpoint: Endpoint | None,
    started: float,
    otlp: OtlpReceiver | None = None,
) -> Iterator[Program]:
    assert feed is not None
    program = Program(process.pid, feed, port, endpoint, started, otlp)
    with closing(program.connection):
        try:
            yield program
        finally:
            with suppress(BrokenPipeError):
                feed.close()


@contextmanager
def silent_endpoint() -> Iterator[Endpoint]:
    """Listen on an address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        silent = Endpoint()
        silent.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield silent
