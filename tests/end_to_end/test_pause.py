"""SIGUSR1 releases the devices and takes them again, so that a driver can be reset."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.daemon.daemon import STOP_SECONDS
from tests.support import exporter as exporter_process
from tests.support.children import child
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import EXPORTER, RunningExporter, clean_environment, running_exporter
from tests.support.patched import patched
from tests.support.processes import children_of, processes_with_open
from tests.support.waiting import wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
HARDWARE = "system_memory_used_bytes"


def source(*steps: str) -> dict[str, Any]:
    """Return a configuration whose child runs these steps."""
    return {"source": {"command": child(*steps), "period": "1s"}}


def toggle_pause(exporter: RunningExporter, state: str) -> None:
    """Send SIGUSR1 and wait for the source state."""
    exporter.process.send_signal(signal.SIGUSR1)
    exporter.wait_for_value("neuron_exporter_source_state", 1, state=state)


def executions(exporter: RunningExporter) -> float | None:
    """Return the machine's execution counter."""
    return exporter.value("neuron_executions_total", status_type="completed")


def test_pause_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While paused, no process has the device open, hardware series are absent, the heartbeat is 0,
    and health and counters stay; the next signal resumes at once."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("short-lived"))
    device = tmp_path / "neuron0"
    with cloudwatch_endpoint() as endpoint:
        config = {
            **source(f"open={device}", "report", "forever"),
            "cloudwatch": {
                "enabled": True,
                "endpoint_url": endpoint.url,
                "region": "us-east-1",
                "flush_interval": "1s",
                "dimension_sets": [["InstanceId"]],
            },
        }

        def heartbeats() -> list[float]:
            return [datum["Value"] for datum in endpoint.datums("ExporterHeartbeat")]

        with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
            exporter.wait_for_event("source_state", state="ok")
            assert HARDWARE in exporter.families()
            (monitor,) = processes_with_open(device)
            status = Path(f"/proc/{monitor}/status").read_text()
            assert int(status.split("SigBlk:")[1].split()[0], 16) == 0

            toggle_pause(exporter, "paused")
            wait_for(lambda: not processes_with_open(device))
            assert exporter.value("neuron_exporter_up") == 0
            assert exporter.value("neuron_exporter_source_state", state="ok") == 0
            wait_for(lambda: HARDWARE not in exporter.families())
            wait_for(lambda: heartbeats()[-1:] == [0])
            assert exporter.get("/healthz") == (200, "ok\n")
            assert exporter.get("/readyz") == (200, "ready\n")
            assert children_of(exporter.process.pid) == []
            assert exporter.events("source_restarting") == []

            toggle_pause(exporter, "ok")
            assert executions(exporter) == 6
            assert processes_with_open(device)
            wait_for(lambda: heartbeats()[-1:] == [1])
            assert exporter.stop() == 0

    assert endpoint.total("ExecutionsCompleted") == 6
    assert len(exporter.events("pausing")) == len(exporter.events("resuming")) == 1
    assert exporter.events("source_restarting") == []


def test_pause_while_program_is_missing(tmp_path: Path) -> None:
    """A program installed during the pause runs after the resume."""
    path = tmp_path / "monitor"
    with running_exporter(tmp_path, {"source": {"command": [str(path)]}}) as exporter:
        exporter.wait_for_event("source_state", state="missing_program")
        toggle_pause(exporter, "paused")
        path.symlink_to("/bin/cat")
        toggle_pause(exporter, "exited")
        assert exporter.stop() == 0


def test_stop_while_paused(tmp_path: Path) -> None:
    """SIGTERM ends a paused exporter with status 0."""
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        toggle_pause(exporter, "paused")
        started = time.monotonic()

        assert exporter.stop() == 0
        assert time.monotonic() - started < STOP_SECONDS


def test_sigusr1_during_stop(tmp_path: Path) -> None:
    """The exit status is 0 whenever the signal arrives."""
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        exporter.process.send_signal(signal.SIGTERM)
        while exporter.process.poll() is None:
            exporter.process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)

        assert exporter.wait() == 0
    assert exporter.events("stopped")


def test_sigusr1_before_start(tmp_path: Path) -> None:
    """A pause requested while the exporter reads its configuration takes effect."""
    fifo = tmp_path / "config.yaml"
    subprocess.run(["mkfifo", fifo], check=True)
    process = subprocess.Popen(
        [*EXPORTER, "run", "--config", str(fifo)],
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    with closing(RunningExporter(process)) as exporter:
        with fifo.open("w") as config:  # which it has opened now
            process.send_signal(signal.SIGUSR1)
            config.write(
                "{log: {format: json}, prometheus: {listen: '127.0.0.1:0'}, "
                "source: {command: [/nowhere]}}"
            )
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert exporter.stop() == 0


@pytest.mark.parametrize("kind", ["stdin", "file"])
def test_pause_without_child(tmp_path: Path, kind: str) -> None:
    """For sources without a child process the exporter logs that it cannot pause."""
    path = tmp_path / "reports"
    path.write_bytes(subprocess.run(child("report"), capture_output=True, check=True).stdout)
    config = {"source": {"kind": kind, "path": str(path)} if kind == "file" else {"kind": kind}}
    if kind == "file":
        config["source"]["replay"] = {"at_end": "repeat"}  # type: ignore[assignment]
    with running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_event("pause_unsupported", source=kind)

        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0
