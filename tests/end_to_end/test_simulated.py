"""The exporter on a simulated machine where things go wrong."""

from __future__ import annotations

from pathlib import Path

from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
from tests.support.waiting import wait_for


def test_a_damaged_stream_costs_what_is_damaged(tmp_path: Path) -> None:
    """Half a report, a huge line, readings that are no numbers and a flood of complaints are each
    counted where they belong, and the machine is shown on."""
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


def test_a_scripted_run_is_seen_as_it_was_written(tmp_path: Path) -> None:
    """A machine that is idle, then hangs, then crashes, is idle, busy without results, and started
    again."""
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
        exporter.wait_for_event("restarting", reason="exited")
        assert exporter.value("neuron_exporter_source_restarts_total", reason="exited") == 1
        assert "simulated crash" in str(exporter.log)


def test_the_demonstration_offers_every_scenario_and_refuses_what_it_cannot_show() -> None:
    """--help of `demo` names each scenario; a machine whose figures nobody states is refused with
    what is missing."""
    told = run("demo", "--help").out
    assert all(name in told for name in SCENARIOS)
    refused = run("demo", "--instance-type", "trn2.3xlarge", "--scenario", "compile")
    assert (refused.status, refused.out) == (2, "")
    (said,) = refused.complaints
    missing = "no source states its vCPUs, host memory; must be one of inf1.24xlarge"
    assert said.startswith(f"--instance-type: trn2.3xlarge cannot be simulated: {missing}")
