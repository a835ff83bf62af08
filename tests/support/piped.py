"""The exporter with a piped neuron-monitor, which the test plays."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.exporter import RunningExporter, running_exporter


class PipedExporter:
    """An exporter that reads reports of the test from its standard input."""

    def __init__(self, exporter: RunningExporter) -> None:
        self.exporter = exporter
        self._sent = 0

    def send(self, document: Mapping[str, Any]) -> None:
        """Send a report, and wait until its samples are exposed."""
        self.send_line(json.dumps(document).encode())

    def send_line(self, line: bytes) -> None:
        """Send a report as neuron-monitor writes it, and wait until its samples are exposed."""
        pipe = self.exporter.process.stdin
        assert pipe is not None
        pipe.write(line + b"\n")
        pipe.flush()
        self._sent += 1
        self.exporter.wait_for_value("neuron_exporter_reports_total", self._sent)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the samples of a metric by the value of a label; empty without one."""
        family = self.exporter.families().get(name)
        return {s.labels[label]: s.value for s in family.samples} if family else {}

    def end(self) -> None:
        """End the input, and wait until the exporter has sent everything and exited."""
        assert self.exporter.process.stdin is not None
        self.exporter.process.stdin.close()
        assert self.exporter.wait() == 0


@contextmanager
def piped_exporter(
    folder: Path, config: Mapping[str, Any] | None = None, **more: Any
) -> Iterator[PipedExporter]:
    """Run an exporter; `more` are arguments of `running_exporter`."""
    settings = {"source": {"kind": "stdin"}, "identity": {"imds": False}, **(config or {})}
    with running_exporter(folder, settings, stdin=subprocess.PIPE, **more) as exporter:
        yield PipedExporter(exporter)
