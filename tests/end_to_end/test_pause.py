"""SIGUSR1 lets go of the devices and takes them again: a driver is reset while nobody has them."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import exporter as exporter_process
from tests.support.altered import altered
from tests.support.children import child
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.exporter import EXPORTER, RunningExporter, clean_environment, running_exporter
from tests.support.processes import children_of, holders
from tests.support.waiting import wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
HARDWARE = "system_memory_used_bytes"


def source(*steps: str) -> dict[str, Any]:
    """A configuration with a child that does these steps."""
    return {"source": {"command": child(*steps), "period": "1s"}}


def signalled(exporter: RunningExporter, state: str) -> None:
    """Send SIGUSR1, and wait for the state that it leads to."""
    exporter.process.send_signal(signal.SIGUSR1)
    exporter.wait_for_value("neuron_exporter_source_state", 1, state=state)


def executions(exporter: RunningExporter) -> float | None:
    """The machine's counter."""
    return exporter.value("neuron_executions_total", status_type="completed")


def test_a_driver_can_be_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused, nobody holds the device, no hardware series is shown, the heartbeat is 0, health and
    counters stay; the next signal resumes at once."""
    monkeypatch.setattr(exporter_process, "EXPORTER", altered("short-lived"))
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
        with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
            exporter.wait_for_event("source_state", state="ok")
            (monitor,) = holders(device)
            status = Path(f"/proc/{monitor}/status").read_text()
            assert int(status.split("SigBlk:")[1].split()[0], 16) == 0
            assert HARDWARE in exporter.families()

            signalled(exporter, "paused")
            wait_for(lambda: not holders(device))
            assert exporter.value("neuron_exporter_up") == 0
            assert exporter.value("neuron_exporter_source_state", state="ok") == 0
            wait_for(lambda: HARDWARE not in exporter.families())
            wait_for(lambda: endpoint.datums("ExporterHeartbeat")[-1]["Value"] == 0)
            assert exporter.get("/healthz") == (200, "ok\n")
            assert exporter.get("/readyz") == (200, "ready\n")
            assert children_of(exporter.process.pid) == []
            assert exporter.events("restarting") == []

            signalled(exporter, "ok")
            assert executions(exporter) == 6
            assert holders(device)
            wait_for(lambda: endpoint.datums("ExporterHeartbeat")[-1]["Value"] == 1)
            assert exporter.stop() == 0

    assert endpoint.total("ExecutionsCompleted") == 6
    assert len(exporter.events("pausing")) == len(exporter.events("resuming")) == 1
    assert exporter.events("restarting") == []


def test_a_pause_takes_nothing_from_the_next_start(tmp_path: Path) -> None:
    """While the program is missing it can be paused, and what is installed runs after a resume."""
    path = tmp_path / "monitor"
    with running_exporter(tmp_path, {"source": {"command": [str(path)]}}) as exporter:
        exporter.wait_for_event("source_state", state="missing_program")
        signalled(exporter, "paused")
        path.symlink_to("/bin/cat")
        signalled(exporter, "exited")
        assert exporter.stop() == 0


def test_a_stop_ends_a_pause(tmp_path: Path) -> None:
    """SIGTERM ends a paused exporter at once, with status 0."""
    with running_exporter(tmp_path, source("report", "forever")) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        signalled(exporter, "paused")
        started = time.monotonic()

        assert exporter.stop() == 0
        assert time.monotonic() - started < 3


def test_a_signal_in_the_middle_of_a_stop_changes_nothing(tmp_path: Path) -> None:
    """Whenever it comes while the exporter stops, up to its last moment, the status is 0."""
    with running_exporter(tmp_path, source("ignore", "report", "forever")) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        exporter.process.send_signal(signal.SIGTERM)
        while exporter.process.poll() is None:
            exporter.process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)

        assert exporter.wait() == 0
    assert exporter.events("stopped")


def test_a_signal_before_the_start_is_kept(tmp_path: Path) -> None:
    """A pause that is asked for while the exporter still reads its configuration holds."""
    fifo = tmp_path / "config.yaml"
    subprocess.run(["mkfifo", fifo], check=True)
    process = subprocess.Popen(
        [*EXPORTER, "run", "--config", str(fifo)],
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    exporter = RunningExporter(process)
    try:
        with fifo.open("w") as config:  # which it has opened now
            process.send_signal(signal.SIGUSR1)
            config.write(
                "{log: {format: json}, prometheus: {listen: '127.0.0.1:0'}, "
                "source: {command: [/nowhere]}}"
            )
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="paused")
        assert exporter.stop() == 0
    finally:
        process.kill()
        process.wait()
        exporter._reading.join(5)
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize("kind", ["stdin", "file"])
def test_what_has_no_child_says_so(tmp_path: Path, kind: str) -> None:
    """Where somebody else runs neuron-monitor there is nothing to pause; the log says that."""
    path = tmp_path / "reports"
    path.write_bytes(subprocess.run(child("report"), capture_output=True, check=True).stdout)
    config = {"source": {"kind": kind, "path": str(path)} if kind == "file" else {"kind": kind}}
    if kind == "file":
        config["source"]["replay"] = {"at_end": "repeat"}  # type: ignore[assignment]
    with running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_event("no_child_to_pause", source=kind)

        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0
