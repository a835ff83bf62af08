"""A running exporter with changes of its configuration, fed report by report."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.exporter import (
    EXPORTER,
    RunningExporter,
    clean_environment,
    running_exporter,
    write_config,
)
from tests.support.simulated import SMALL, completed, reports
from tests.support.waiting import wait_for

GOOD = "neuron_exporter_config_last_reload_successful"
TOTALS = "neuron_executions_total"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class FedExporter:
    """An exporter that reads standard input, its configuration file, and what it was fed."""

    def __init__(self, exporter: RunningExporter, folder: Path, config: dict[str, Any]) -> None:
        self.exporter = exporter
        self.folder = folder
        self.config = config
        self.completed = 0
        self._reports = reports(60, *SMALL)
        self._fed = 0

    def feed(self, count: int = 1) -> None:
        """Write some reports and wait until they have been read."""
        assert self.exporter.process.stdin is not None
        for _ in range(count):
            report = self._reports[self._fed]
            self._fed += 1
            self.completed += completed(report)
            self.exporter.process.stdin.write(json.dumps(report).encode() + b"\n")
            self.exporter.process.stdin.flush()
            self.exporter.wait_for_value("neuron_exporter_reports_total", self._fed)

    def write(self, **sections: Any) -> None:
        """Write the configuration with these sections in place of those of the start."""
        write_config(self.folder, {**self.config, **sections})

    def end(self) -> None:
        """Close standard input and wait for the exit."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.close()
        self.exporter.process.stdin = None
        assert self.exporter.wait() == 0


@contextmanager
def fed(folder: Path, **sections: Any) -> Iterator[FedExporter]:
    """Run an exporter with these sections, without credentials unless CloudWatch is on."""
    config = {"source": {"kind": "stdin"}, **sections}
    environment = CREDENTIALS if "cloudwatch" in sections else {}
    with running_exporter(
        folder, config, stdin=subprocess.PIPE, environment=environment
    ) as exporter:
        exporter.wait_for_event("started")
        yield FedExporter(exporter, folder, config)


def send_sighup(exporter: RunningExporter) -> None:
    """Request a reload."""
    exporter.process.send_signal(signal.SIGHUP)


def reloaded(exporter: RunningExporter, times: int = 1) -> list[str]:
    """Wait for this number of reloads; return the keys that the last one changed."""
    events = wait_for(lambda: exporter.events("config_reloaded")[times - 1 :])
    changed: list[str] = events[0]["changed"]
    return changed


@contextmanager
def started(flags: list[str], **more: Any) -> Iterator[RunningExporter]:
    """Run the exporter with these flags alone."""
    process = subprocess.Popen(
        [*EXPORTER, "run", *flags], stderr=subprocess.PIPE, env=clean_environment(), **more
    )
    with closing(RunningExporter(process)) as exporter:
        yield exporter
