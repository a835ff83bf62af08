"""The exporter on a simulated machine with faults."""

from __future__ import annotations

from pathlib import Path

from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
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
