"""A real Prometheus evaluates the rules while it scrapes running exporters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exporter import running_exporter, simulated
from tests.support.promtool import RULES
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

MACHINES = {
    "instance:neuron_machine:info",
    "instance:neuroncore_utilization:avg",
    "instance:neuroncore_utilization:max_avg5m",
    "instance:neuroncores:count",
    "instance:neuroncores_idle:count5m",
    "instance:neurondevice_memory_utilization:max",
    "instance:neuron_executions:rate5m",
}
WORK = {
    "instance:neuron_executions_failed:ratio_rate5m",
    "workload:neuroncore_utilization:sum",
    "workload:neuroncores:count",
    "workload:neuroncore_utilization:avg",
    "workload:neuron_executions_by_status:rate5m",
    "workload:neuron_execution_errors:rate5m",
    "workload:neuron_executions:rate5m",
    "workload:neuron_executions_failed:ratio_rate5m",
    "workload:execution_latency_p99_seconds:avg5m",
}
EXECUTED = {
    "instance:neuron_executions_failed:ratio_rate5m",
    "workload:neuron_executions_failed:ratio_rate5m",
    "workload:execution_latency_p99_seconds:avg5m",
}
"""Series that require executions."""


def recorded(prometheus: Prometheus, instance: str) -> set[str]:
    """Return the names of a target's recorded series."""
    found = prometheus.query(f'{{__name__=~".+:.+:.+",instance="{instance}"}}')
    return {each["metric"]["__name__"] for each in found}


def test_recorded_series(tmp_path: Path) -> None:
    """A busy machine has all series; an idle one has no failure ratio and no latency."""
    small = ("--instance-type", "inf2.xlarge", "--kubernetes")
    folders = [tmp_path / name for name in ("busy", "idle", "prometheus")]
    for folder in folders:
        folder.mkdir()
    busy_source = simulated(*small, "--scenario", "training", "--runtimes", "2")
    idle_source = simulated(*small, "--scenario", "idle", "--runtimes", "2")
    with (
        running_exporter(folders[0], {"source": busy_source}) as one,
        running_exporter(folders[1], {"source": idle_source}) as other,
    ):
        busy, idle = (each.url.removeprefix("http://") for each in (one, other))
        with prometheus_server(folders[2], busy, idle, rule_files=RULES) as prometheus:
            wait_for(lambda: recorded(prometheus, busy) >= MACHINES | WORK)
            wait_for(lambda: recorded(prometheus, idle) >= (MACHINES | WORK) - EXECUTED)
            assert recorded(prometheus, busy) == MACHINES | WORK
            assert recorded(prometheus, idle) == (MACHINES | WORK) - EXECUTED
            workloads = prometheus.query(
                f'workload:neuroncore_utilization:avg{{instance="{busy}"}} > 0.5'
            )
            assert {each["metric"]["runtime_tag"] for each in workloads} == {
                "resnet50",
                "bert-base",
            }
            assert all(each["metric"]["pod"] for each in workloads)
            average = prometheus.value(f'instance:neuroncore_utilization:avg{{instance="{idle}"}}')
            assert average == 0
            rules = prometheus.rules()
    assert len(rules) > 25
    assert {rule["health"] for rule in rules} == {"ok"}
    assert {rule["name"] for rule in rules if rule.get("state") == "firing"} == set()
