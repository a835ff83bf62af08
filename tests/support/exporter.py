"""The exporter as a process, read over HTTP and through its log."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import wait_for

EXPORTER = (sys.executable, "-m", "neuron_exporter")
SIMULATOR = [sys.executable, "-m", "neuron_exporter.simulator"]


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings of the exporter and of AWS's libraries."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "NEURON_EXPORTER_"))
    }
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "default", **more}


class RunningExporter:
    """A running `neuron-exporter run`."""

    def __init__(self, process: subprocess.Popen[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.process = process
        self.tls = tls
        self.log: list[dict[str, Any]] = []
        self.raw_log: list[str] = []
        self._reading = threading.Thread(target=self._read_log, daemon=True)
        self._reading.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.raw_log.append(line.decode().rstrip())
            try:
                self.log.append(json.loads(line))
            except ValueError:
                continue

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events of this name so far."""
        return [event for event in list(self.log) if event.get("event") == name]

    def wait_for_event(self, name: str, seconds: float = 60.0, **fields: Any) -> dict[str, Any]:
        """Return the first event of this name that has these fields."""

        def found() -> dict[str, Any] | None:
            for event in self.events(name):
                if fields.items() <= event.items():
                    return event
            if self.process.poll() is not None and not self._reading.is_alive():
                raise AssertionError(f"exited without {name}: {self.raw_log}")
            return None

        return wait_for(found, seconds)

    @property
    def url(self) -> str:
        """The URL that it listens on."""
        return str(self.wait_for_event("started")["url"])

    @property
    def port(self) -> int:
        """The first port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and body of a response."""
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310 (loopback)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.tls) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def families(self) -> dict[str, Metric]:
        """Return a scrape by family."""
        status, text = self.get("/metrics")
        assert status == 200
        return {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only sample with this name and these labels; None without one."""
        status, text = self.get("/metrics")
        assert status == 200
        # Tests ask often. Only lines with this name are parsed, which takes most of the time.
        lines = "".join(line for line in text.splitlines(keepends=True) if line.startswith(name))
        found = [
            sample.value
            for family in text_string_to_metric_families(lines)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, f"{len(found)} samples of {name} with {labels}"
        return found[0] if found else None

    def wait_for_value(
        self, name: str, expected: float, seconds: float = 60.0, **labels: str
    ) -> None:
        """Wait until a sample has this value."""
        wait_for(lambda: self.value(name, **labels) == expected, seconds)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        """Wait for the exit and return the status."""
        status = self.process.wait(seconds)
        self._reading.join(60)
        return status

    def close(self) -> None:
        """Kill the process if it still runs, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write the file of `running_exporter`: with a free port, and JSON logs."""
    document = {"log": {"format": "json", "level": "debug"}, **config}
    document["prometheus"] = {"listen": "127.0.0.1:0", **document.get("prometheus", {})}
    for sink, name in (("cloudwatch", "spool.db"), ("otlp", "otlp-spool.db")):
        if sink in document:
            document[sink] = {"spool": {"path": str(folder / name)}, **document[sink]}
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def running_exporter(
    folder: Path,
    config: Mapping[str, Any],
    *,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdin: Any = subprocess.DEVNULL,
    stdout: Any = subprocess.DEVNULL,
    tls: ssl.SSLContext | None = None,
    within: Sequence[str] = (),
) -> Iterator[RunningExporter]:
    """Run the exporter with this configuration, on a free port unless it names another. `within` is
    a command that runs the command behind it. Temporary files, which remain where the exporter is
    killed, are in the folder as well."""
    path = write_config(folder, config)
    process = subprocess.Popen(
        [*within, *EXPORTER, "run", "--config", str(path), *flags],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=clean_environment(**{"TMPDIR": str(folder), **(environment or {})}),
    )
    with closing(RunningExporter(process, tls)) as exporter:
        yield exporter


def simulated(*flags: str) -> dict[str, Any]:
    """Return a source that runs the simulator in place of neuron-monitor, every second."""
    return {"command": [*SIMULATOR, *flags], "period": "1s"}
