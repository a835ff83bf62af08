"""The exporter on a simulated machine with faults."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
from tests.support.processes import ended
from tests.support.waiting import wait_for


def test_damaged_stream(tmp_path: Path) -> None:
    """Truncated lines, huge lines, invalid numbers and a stderr flood are each counted, and reports
    go on."""
    faults = "half-line@2,huge-line@3,nan@4,stderr-flood@5"
    source = simulated("--instance-type", "inf2.xlarge", "--speed", "20", "--faults", faults)
    with running_exporter(tmp_path, {"source": source}) as exporter:
        exporter.wait_for_value("neuron_exporter_source_stderr_lines_total", 2000)
        name = "neuron_exporter_report_errors_total"
        wait_for(lambda: exporter.value(name, reason="reading"))
        assert exporter.value(name, reason="not_json") == 1
        assert exporter.value(name, reason="too_long") == 1
        assert exporter.value("neuron_exporter_up") == 1
        assert len(exporter.families()["neuroncore_utilization_ratio"].samples) == 2


def test_scripted_run(tmp_path: Path) -> None:
    """The exporter shows an idle, then hanging, then crashing machine as scripted."""
    script = tmp_path / "script.yaml"
    script.write_text(
        "- {at: 0s, scenario: idle, runtimes: 2}\n"
        "- {at: 40s, fault: hang}\n"
        "- {at: 80s, fault: crash}\n"
    )
    source = simulated("--instance-type", "inf2.xlarge", "--speed", "20", "--script", str(script))
    with running_exporter(tmp_path, {"source": source}) as exporter:
        core = "neuroncore_utilization_ratio"
        exporter.wait_for_value(core, 0, neuroncore="0")
        exporter.wait_for_value(core, 1, neuroncore="0")
        assert exporter.value("neuron_executions_total", status_type="completed") == 0
        exporter.wait_for_event("source_restarting", reason="exited")
        assert exporter.value("neuron_exporter_source_restarts_total", reason="exited") == 1
        assert "simulated crash" in str(exporter.log)


def test_driver_files(tmp_path: Path) -> None:
    """The exporter shows what the simulator's files say, while they move."""
    root = tmp_path / "driver"
    root.mkdir()
    flags = ("--instance-type", "inf2.24xlarge", "--faults", "hardware-errors")
    config = {"source": simulated(*flags, "--sysfs", str(root)), "hardware": {"sysfs": str(root)}}
    with running_exporter(tmp_path, config) as exporter:

        def counted() -> float:
            errors = exporter.families().get("neuroncore_hardware_errors")
            return sum(each.value for each in errors.samples) if errors else 0

        def shows_power() -> bool:
            name = "neurondevice_power_utilization_ratio"
            shown = exporter.value(name, neuron_device_index="5", statistic="avg")
            if shown is None:
                return False
            text = (root / "neuron5" / "stats" / "power" / "utilization").read_text()
            return math.isclose(shown, float(text.split(",")[-1]) / 100)

        wait_for(shows_power, 120.0)
        before = counted()
        wait_for(lambda: counted() > before, 120.0)
        assert exporter.value("neuron_exporter_sysfs_up") == 1
        for reason in ("invalid", "unclear", "unreadable"):
            assert exporter.value("neuron_exporter_sysfs_errors_total", reason=reason) == 0
        exporter.stop()
    assert len([*root.glob("neuron*/neuron_core*")]) == 12


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"kind": "simulator"}, "simulator"),
        ({"command": ["neuron-exporter", "simulate", "--scenario", "idle"]}, "simulator"),
        ({"kind": "stdin"}, "stdin"),
        ({"kind": "file"}, "file"),
    ],
)
def test_simulated_values_say_so(tmp_path: Path, source: dict[str, Any], kind: str) -> None:
    """Metrics, JSON document, log and `doctor` say that values are simulated, wherever they come
    from; CloudWatch, which cannot show it, gets a warning in the log."""
    reports = tmp_path / "reports.ndjson"
    reports.write_text(run("simulate", "--reports", "60", "--speed", "0").out)
    if kind == "file":
        source = {**source, "path": str(reports), "replay": {"at_end": "repeat"}}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    config = {
        "source": source,
        "cloudwatch": {"enabled": True, "transport": "emf"},
    }
    script = f"cat {reports}; exec sleep infinity"
    feeder = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    environment = {"PATH": programs}
    with (
        ended(feeder),
        running_exporter(
            tmp_path, config, stdin=feeder.stdout, environment=environment
        ) as exporter,
    ):
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert exporter.value("neuron_exporter_source_simulated") == 1
        shown = json.loads(exporter.get("/api/v1/snapshot")[1])["source"]
        assert (shown["kind"], shown["is_simulated"]) == (kind, True)
        started = exporter.wait_for_event("started")
        assert started["source"] == kind
        if kind != "stdin":  # its reports are not known at the start
            assert started["simulated"] is True
            warning = exporter.wait_for_event("simulated_values_sent", level="warning")
            assert (warning["sink"], warning["namespace"]) == ("cloudwatch", "NeuronExporter")
        path = str(tmp_path / "exporter.yaml")
        environment["NEURON_EXPORTER__PROMETHEUS__LISTEN"] = f"127.0.0.1:{exporter.port}"
        lines = run("doctor", "--config", path, environment=environment).out.splitlines()
        said = [line.split(None, 2) for line in lines if "simulated or replayed" in line]
        assert [words[:2] for words in said] == [["warning", "source"]]


def test_demo_options() -> None:
    """`demo --help` lists every scenario; an instance type without known figures is rejected with
    what is missing."""
    help = run("demo", "--help").out
    assert all(name in help for name in SCENARIOS)
    rejected = run("demo", "--instance-type", "trn2.3xlarge", "--scenario", "compile")
    assert (rejected.status, rejected.out) == (2, "")
    (message,) = rejected.error_lines
    missing = "no public source has its vCPUs, host memory; must be one of inf1.24xlarge"
    assert message.startswith(f"--instance-type: trn2.3xlarge cannot be simulated: {missing}")
