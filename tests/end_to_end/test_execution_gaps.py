"""A running exporter on a machine that hangs: the gap that it reports, beside a clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.exporter import SIMULATOR, RunningExporter, running_exporter
from tests.support.waiting import wait_for

GAP, LONGEST = "neuron_execution_gap_seconds", "neuron_execution_gap_max_seconds"
RESTARTS = "neuron_exporter_source_restarts_total"


def source(*flags: str) -> dict[str, Any]:
    """Return the source of a simulated machine with two runtimes."""
    simulator = [*SIMULATOR, "--instance-type", "trn1.2xlarge", "--runtimes", "2", *flags]
    return {"source": {"command": simulator, "period": "1s"}, "prometheus": {"preset": "standard"}}


def values(exporter: RunningExporter, name: str) -> list[float]:
    """Return the values of a metric, from a scrape."""
    family = exporter.families().get(name)
    return [sample.value for sample in (family.samples if family else ())]


def test_gap_of_a_hang(tmp_path: Path) -> None:
    """Each runtime's gap grows as reports arrive, and its history is that before the hang. A new
    exporter begins anew."""
    config = source("--scenario", "training", "--faults", "hang@4")
    for seconds in (5, 1):
        began = time.monotonic()
        with running_exporter(tmp_path, config) as exporter:
            wait_for(lambda: min(values(exporter, GAP), default=0) >= seconds)  # noqa: B023
            gaps, longest = values(exporter, GAP), values(exporter, LONGEST)
            reports = exporter.value("neuron_exporter_reports_total") or 0
            assert len(gaps) == len(longest) == 2
            assert max(gaps) <= 1.01 * (reports + 1 - 3)
            assert max(gaps) <= time.monotonic() - began
            assert 0 < min(longest) <= max(longest) <= 1.1
            assert exporter.stop() == 0


def test_outage_of_the_source_is_no_gap(tmp_path: Path) -> None:
    """A source that crashes again and again covers little time, and none between its reports."""
    config = source("--faults", "hang,crash@3")
    with running_exporter(tmp_path, config) as exporter:
        began = time.monotonic()
        wait_for(lambda: (exporter.value(RESTARTS, reason="exited") or 0) >= 3)
        gaps, reports = values(exporter, GAP), exporter.value("neuron_exporter_reports_total")
        assert reports is not None
        # Of the two reports of each run, the first covers milliseconds.
        assert max(gaps, default=0) <= 1.1 * reports / 2 + 0.5 < time.monotonic() - began
        assert exporter.stop() == 0
