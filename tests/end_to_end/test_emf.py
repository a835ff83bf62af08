"""EMF output: the running exporter writes metrics, and nothing else, to standard output."""

from __future__ import annotations

import fcntl
import json
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.emf import assert_stands_for, published, sent
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import running_exporter, simulated
from tests.support.fleet import CREDENTIALS
from tests.support.waiting import wait_for

EMF = {"enabled": True, "transport": "emf", "flush_interval": "1s"}


class Reader:
    """Thread that collects the lines of a pipe."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self.lines: list[bytes] = []
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self.lines.append(line)

    def all_lines(self) -> list[bytes]:
        """Return every line once the writer has closed the pipe."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.lines


def test_stdout_has_metrics_only(tmp_path: Path) -> None:
    """Ten metrics arrive without region, credentials or network; log lines go to stderr."""
    config = {"source": simulated(), "cloudwatch": EMF}
    with running_exporter(tmp_path, config, stdout=subprocess.PIPE) as exporter:
        reader = Reader(exporter.process.stdout)
        wait_for(lambda: len({name for name, _, _ in published(list(reader.lines))}) == 10)
        exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
        assert exporter.stop() == 0
        found = published(reader.all_lines())
    beats = {stamp: dict(v) for (name, _, stamp), v in found.items() if name == "ExporterHeartbeat"}
    assert beats
    assert all(stamp == int(stamp) and value == {1.0: 1} for stamp, value in beats.items())
    assert len(exporter.log) == len(exporter.raw_log)
    assert exporter.events("stopped")
    assert not exporter.events("data_lost")


def run_through(folder: Path, reports: list[dict[str, Any]], **cloudwatch: Any) -> list[bytes]:
    """Return stdout for these reports, sent in one window and flushed at the end."""
    folder.mkdir()
    settings = {
        "source": {"kind": "stdin"},
        "cloudwatch": {
            "enabled": True,
            "flush_interval": "1h",
            "dimension_sets": [["InstanceId", "InstanceType"], ["InstanceType"]],
            **cloudwatch,
        },
    }
    with running_exporter(
        folder,
        settings,
        environment=CREDENTIALS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as exporter:
        reader = Reader(exporter.process.stdout)
        assert exporter.process.stdin is not None
        for report in reports:
            exporter.process.stdin.write(json.dumps(report).encode() + b"\n")
        exporter.process.stdin.close()
        exporter.process.stdin = None
        assert exporter.wait() == 0
        return reader.all_lines()


def test_emf_equals_api(tmp_path: Path) -> None:
    """Both transports publish the same metrics in both dimension sets: exact up to a hundred
    values, with bounded rank errors beyond."""
    machine = Machine(parse(["--instance-type", "trn1.32xlarge", "--scenario", "mixed"]))
    reports = [machine.report(number) for number in range(12)]
    with cloudwatch_endpoint() as endpoint:
        assert run_through(tmp_path / "api", reports, endpoint_url=endpoint.url) == []
        wanted = sent(endpoint.datums())
    found = published(run_through(tmp_path / "emf", reports, transport="emf"))

    def unstamped(metrics: dict[Any, Any]) -> dict[Any, Any]:
        return {(name, dimensions): values for (name, dimensions, _), values in metrics.items()}

    expected, got = unstamped(wanted), unstamped(found)
    assert len(expected) == len(wanted), "one window"
    assert got.keys() == expected.keys()
    assert {len(dimensions) for _, dimensions in got} == {1, 2}
    assert any(len(values) > 100 for values in expected.values())
    for key, values in expected.items():
        assert_stands_for(got[key], values)


def test_stdout_reader_that_stops_and_leaves(tmp_path: Path) -> None:
    """Each change is logged once, the rest of the exporter goes on, and no line is truncated."""
    extra = {f"Long{n}": "v" * 900 for n in range(4)}
    config = {"source": simulated(), "cloudwatch": {**EMF, "extra_dimensions": extra}}
    with running_exporter(tmp_path, config, stdout=subprocess.PIPE) as exporter:
        stdout = exporter.process.stdout
        assert stdout is not None
        fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
        exporter.wait_for_event("delivery_failing", code="OutputBlocked")
        assert exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 0
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.get("/healthz")[0] == 200
        lines: list[bytes] = []
        while not exporter.events("delivery_recovered"):
            lines.append(stdout.readline())
        assert published(lines)
        stdout.close()
        exporter.wait_for_event("delivery_failing", code="EPIPE")
        dropped = {"sink": "cloudwatch", "reason": "rejected"}
        assert exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 0
        assert exporter.value("neuron_exporter_sink_dropped_requests_total", **dropped)
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.stop() == 0
        assert len(exporter.events("delivery_failing")) == 2
