"""neuron-monitor may be killed as often as it is: nothing is left behind, nothing is miscounted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from structlog.testing import capture_logs

from neuron_exporter.config import Given, load
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.source import NeuronMonitorSource
from neuron_exporter.source.child import Backoff
from tests.support.children import LINE, script
from tests.support.listening import running
from tests.support.processes import children_of, descriptors, thread_count
from tests.support.waiting import wait_for

KILLS = 200
EXECUTIONS_IN_A_REPORT = 3


def counted(pipeline: Pipeline, name: str, **labels: str) -> float:
    """One of the exporter's own counters."""
    return pipeline.telemetry.registry.get_sample_value(f"neuron_exporter_{name}", labels) or 0.0


def executions(pipeline: Pipeline) -> float:
    """The machine's counter, as a scrape would show it."""
    assert pipeline.prometheus is not None
    shown = pipeline.prometheus.expose(0.0).decode()
    name = 'neuron_executions_total{status_type="completed"'
    return sum(float(line.split()[-1]) for line in shown.splitlines() if line.startswith(name))


def test_two_hundred_kills_leave_nothing_and_miscount_nothing(tmp_path: Path) -> None:
    """After each of 200 kills the next report counts on where the last one stood; descriptors,
    threads and zombies are as many as after the first."""
    report = tmp_path / "report"
    report.write_bytes(LINE)
    monitor = script(tmp_path / "monitor", f"cat {report}; exec sleep 3600")
    pipeline = build(load(flags=[Given("test", "cloudwatch.enabled", "false")]), environment={})
    source = NeuronMonitorSource(
        [str(monitor)], pipeline.groups, 1.0, 2**20, backoff=Backoff(0.001, 0.001)
    )
    others = set(children_of(os.getpid()))
    held: list[tuple[int, int]] = []
    pids = set()
    with capture_logs(), running(source, pipeline.intake):
        for life in range(1, KILLS + 2):
            wait_for(
                lambda: executions(pipeline) >= EXECUTIONS_IN_A_REPORT * life,  # noqa: B023
                every=0.002,
            )
            assert executions(pipeline) == EXECUTIONS_IN_A_REPORT * life
            (pid,) = set(children_of(os.getpid())) - others  # a zombie would be another
            pids.add(pid)
            held.append((descriptors(), thread_count(os.getpid())))
            if life <= KILLS:
                os.kill(pid, signal.SIGKILL if life % 2 else signal.SIGTERM)

    assert len(pids) == KILLS + 1
    assert set(held) == {held[0]}
    assert counted(pipeline, "source_restarts_total", reason="exited") == KILLS
    assert counted(pipeline, "reports_total") == KILLS + 1
    assert set(children_of(os.getpid())) == others
