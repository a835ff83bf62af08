"""Two hundred kills of neuron-monitor."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from structlog.testing import capture_logs

from neuron_exporter.config import Override, load
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.source import NeuronMonitorSource
from neuron_exporter.source.child import Backoff
from tests.support.children import LINE, script
from tests.support.processes import children_of, descriptors, thread_count
from tests.support.source_thread import running_source
from tests.support.waiting import wait_for

KILLS = 200
EXECUTIONS_IN_A_REPORT = 3


def own_metric(pipeline: Pipeline, name: str, **labels: str) -> float:
    """Return the value of one of the exporter's own metrics."""
    return pipeline.telemetry.registry.get_sample_value(f"neuron_exporter_{name}", labels) or 0.0


def own_resources() -> tuple[int, int]:
    """Return the numbers of open descriptors and of threads."""
    return descriptors(), thread_count(os.getpid())


def is_within(now: Iterable[int], before: Iterable[int]) -> bool:
    """Return whether no number has grown; those of other tests may sink meanwhile."""
    return all(each <= limit for each, limit in zip(now, before, strict=True))


def executions(pipeline: Pipeline) -> float:
    """Return the machine's execution counter from a scrape."""
    assert pipeline.prometheus is not None
    text = pipeline.prometheus.expose(0.0).decode()
    name = 'neuron_executions_total{status_type="completed"'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_two_hundred_kills(tmp_path: Path) -> None:
    """Counters continue after each restart, and no descriptor, thread or zombie leaks."""
    report = tmp_path / "report"
    report.write_bytes(LINE)
    monitor = script(tmp_path / "monitor", f"cat {report}; exec sleep 3600")
    pipeline = build(load(flags=[Override("test", "cloudwatch.enabled", "false")]), environment={})
    source = NeuronMonitorSource(
        [str(monitor)], pipeline.groups, 1.0, 2**20, backoff=Backoff(0.001, 0.001)
    )
    other_children = set(children_of(os.getpid()))
    resources: tuple[int, int] | None = None
    pids = set()
    with capture_logs(), running_source(source, pipeline.processor):
        for child_number in range(1, KILLS + 2):
            wait_for(
                lambda: executions(pipeline) >= EXECUTIONS_IN_A_REPORT * child_number,  # noqa: B023
                every=0.002,
            )
            assert executions(pipeline) == EXECUTIONS_IN_A_REPORT * child_number
            (pid,) = set(children_of(os.getpid())) - other_children
            pids.add(pid)
            # The pipes of the child before may be open for a moment.
            resources = resources or own_resources()
            wait_for(lambda: is_within(own_resources(), resources), every=0.002)  # noqa: B023
            if child_number <= KILLS:
                os.kill(pid, signal.SIGKILL if child_number % 2 else signal.SIGTERM)

    assert len(pids) == KILLS + 1
    assert own_metric(pipeline, "source_restarts_total", reason="exited") == KILLS
    assert own_metric(pipeline, "reports_total") == KILLS + 1
    assert set(children_of(os.getpid())) == other_children
