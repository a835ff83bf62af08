"""Fleet: what is wrong and where; idle cores and their cost, load and executions."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import colors, common, devices, panels, triage, variables
from grafana.dashboards_src.idle import idle_cores, idle_cores_by_allocation
from grafana.dashboards_src.layout import dashboard
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import FLEET, JOB, highest, select
from grafana.dashboards_src.workloads import ALL, workloads_worst_first
from neuron_exporter.facts.problems import ERROR_RATIO
from neuron_exporter.facts.project import runbook_address

_UTILIZATION = select("instance:neuroncore_utilization:avg", FLEET)
_CORES = select("instance:neuroncores:count", FLEET)
_IN_USE = select("neuroncores_in_use", FLEET)
_FULLEST = "instance:neurondevice_memory_utilization:max"
_FAILED_RATIO = "instance:neuron_executions_failed:ratio_rate5m"
_P99 = "workload:execution_latency_p99_seconds:avg5m"


def fleet() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.instance_type(),
        variables.text(
            "core_price",
            "USD per core and hour",
            "1",
            "Your price per core and hour. With 1, the cost of idle cores is their number.",
        ),
        variables.text(
            "metric_price",
            "USD per metric and month",
            "0.30",
            "CloudWatch's price per metric and month; 0.30 is the list price of the first 10,000.",
        ),
    ]
    return dashboard(
        "neuron-exporter-fleet",
        "Fleet",
        "What is wrong, on which machine and since when; load, idle cores and their cost.",
        choices,
        {
            "": [
                triage.firing_alerts(runbook_address()),
                triage.machines_with_problems(),
                idle_cores(),
                triage.machines_worst_first(),
                workloads_worst_first("Workloads, worst first", ALL, 9),
            ],
            "Load": _load(),
            "Executions": _executions(),
            "Devices": devices.of_fleet(),
        },
    )


def _load() -> list[Panel]:
    return [
        triage.utilization_by_machine(),
        panels.stat(
            "Utilization",
            "Average of all cores, including idle ones.",
            query(f"sum({_UTILIZATION} * {_CORES}) / sum({_CORES})"),
            unit="percentunit",
            decimals=1,
            width=3,
            height=6,
        ),
        panels.stat(
            "Cores in use",
            "Number of busy cores, and of all cores.",
            query(f"sum({_IN_USE})", "busy"),
            query(f"sum({_CORES})", "all"),
            height=6,
        ),
        panels.stat(
            "Machines",
            "Machines whose hardware is being read.",
            query(f"count({select('instance_info', FLEET)})"),
            no_value="0",
            width=3,
            height=6,
        ),
        panels.stat(
            "CloudWatch per month",
            "Metrics that the exporters publish to CloudWatch, times the price that is set above. "
            "Excludes requests, alarms and dashboards.",
            query(f"sum({select('neuron_exporter_cloudwatch_metrics', JOB)}) * $metric_price"),
            unit="currencyUSD",
            width=5,
            height=6,
        ),
        idle_cores_by_allocation(),
        panels.graph(
            "Cores in use by type",
            "Busy cores per instance type.",
            query(f"sum by (instance_type) ({_IN_USE})", "{{instance_type}}"),
            stacked=True,
        ),
        panels.graph(
            "Fullest devices",
            "Memory utilization of the fullest device of a machine; the ten highest now.",
            query(_highest(_FULLEST), "{{instance_id}}"),
            unit="percentunit",
            steps=colors.NEARLY_FULL,
        ),
    ]


def _executions() -> list[Panel]:
    return [
        *common.executions_and_errors(FLEET),
        panels.graph(
            "Failure ratio",
            "Share of executions that did not complete; the ten machines with the highest ratio "
            "now. The dashed line is the limit of the alerts. Empty while nothing executes.",
            query(_highest(_FAILED_RATIO), "{{instance_id}}"),
            unit="percentunit",
            readable=0.1,
            steps=(colors.UNKNOWN, colors.Step(ERROR_RATIO, "orange")),
        ),
        panels.graph(
            "Slowest machines",
            "99th percentile of the execution latency of the slowest process of a machine; the ten "
            "slowest now.",
            query(_highest(_P99), "{{instance_id}}"),
            unit="s",
        ),
    ]


def _highest(metric: str) -> str:
    """Return the ten machines with the highest value at the end of the time shown."""
    return highest(
        select(metric, FLEET), "instance_id", lambda vector: f"max by (instance_id) ({vector})"
    )
