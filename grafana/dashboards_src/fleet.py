"""Fleet: health, load, idle allocations and cost of all machines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import common, panels, variables
from grafana.dashboards_src.layout import dashboard, dashboard_link
from grafana.dashboards_src.panels import Panel, query, table_query
from grafana.dashboards_src.queries import (
    FAILED,
    FLEET,
    JOB,
    P99,
    allocated_idle,
    rate,
    select,
    utilization,
)

_UTILIZATION = utilization(FLEET)
_DEVICE_MEMORY = select("neurondevice_memory_utilization_ratio", FLEET)
_P99_LATENCY = select("execution_latency_seconds", FLEET, P99)
_EXECUTED = rate("neuron_executions_total", FLEET)
_FAILED = rate("neuron_executions_total", FLEET, FAILED)


def fleet() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.instance_type(),
        variables.text(
            "core_price",
            "USD per core and hour",
            "1",
            "Your price per core and hour. With 1, the cost panel counts cores.",
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
        "Health, load, idle allocations and cost of all machines.",
        choices,
        {
            "": _overview(),
            "Machines": _machines(),
            "Executions": _executions(),
            "Problems": _problems(),
        },
    )


def _overview() -> list[Panel]:
    return [
        panels.stat(
            "Machines",
            "Machines whose hardware is being read.",
            query(f"count({select('instance_info', FLEET)})"),
            no_value="0",
        ),
        common.exporters_down(JOB),
        common.sources_down(JOB),
        common.uncorrected_ecc(FLEET),
        common.average_utilization(FLEET),
        common.cores_in_use(FLEET),
        panels.stat(
            "Allocated but idle",
            "Cores that are allocated to a pod and were idle recently. Requires access to the "
            "kubelet.",
            query(f"sum({allocated_idle(FLEET)})"),
            steps=panels.ORANGE_FROM_1,
            no_value="unknown",
            width=8,
        ),
        panels.stat(
            "Cost of idle allocations per hour",
            "Cores that are allocated but idle, times the price per core and hour that is set "
            "above.",
            query(f"sum({allocated_idle(FLEET)}) * $core_price"),
            unit="currencyUSD",
            no_value="unknown",
            width=8,
        ),
        panels.stat(
            "CloudWatch cost per month",
            "Metrics that the exporters publish to CloudWatch, times the price that is set above. "
            "Excludes requests, alarms and dashboards.",
            query(f"sum({select('neuron_exporter_cloudwatch_metrics', JOB)}) * $metric_price"),
            unit="currencyUSD",
            width=8,
        ),
    ]


def _machines() -> list[Panel]:
    by_machine = "by (instance_id, instance_type)"
    return [
        panels.heatmap(
            "Utilization by machine",
            "One row per machine: the average of its cores. Darker is busier.",
            query(f"avg by (instance_id) ({_UTILIZATION})", "{{instance_id}}"),
            unit="percentunit",
            width=24,
            height=10,
        ),
        panels.table(
            "Current state of machines",
            "Click an id to open the machine.",
            {
                "instance_id": "Machine",
                "instance_type": "Type",
                "Value #A": "Utilization",
                "Value #B": "Cores in use",
                "Value #C": "Fullest device",
                "Value #D": "Executions/s",
                "Value #E": "Failed/s",
                "Value #F": "p99",
            },
            table_query(f"avg {by_machine} ({_UTILIZATION})"),
            table_query(f"sum {by_machine} ({select('neuroncores_in_use', FLEET)})"),
            table_query(f"max {by_machine} ({_DEVICE_MEMORY})"),
            table_query(f"sum {by_machine} ({_EXECUTED})"),
            table_query(f"sum {by_machine} ({_FAILED})"),
            table_query(f"max {by_machine} ({_P99_LATENCY})"),
            units={
                "Utilization": "percentunit",
                "Fullest device": "percentunit",
                "Executions/s": "ops",
                "Failed/s": "ops",
                "p99": "s",
            },
            link=dashboard_link(
                "neuron-exporter-machine", "Open the machine", "machine", "Machine"
            ),
            linked="Machine",
            width=24,
            height=9,
        ),
        panels.graph(
            "Cores in use by type",
            "Busy cores per instance type.",
            query(f"sum by (instance_type) ({select('neuroncores_in_use', FLEET)})"),
            stacked=True,
        ),
        panels.graph(
            "Fullest devices",
            "Memory utilization of the fullest device of a machine; the ten highest.",
            query(f"topk(10, max by (instance_id) ({_DEVICE_MEMORY}))"),
            unit="percentunit",
            steps=panels.NEARLY_FULL,
            maximum=1,
        ),
    ]


def _executions() -> list[Panel]:
    return [
        *common.executions_and_errors(FLEET),
        panels.graph(
            "Failure ratio",
            "Share of executions that did not complete, for the ten machines with the highest "
            "ratio. Empty while nothing executes.",
            query(
                f"topk(10, sum by (instance_id) ({_FAILED})"
                f" / (sum by (instance_id) ({_EXECUTED}) > 0))"
            ),
            unit="percentunit",
        ),
        panels.graph(
            "Slowest machines",
            "99th percentile of the execution latency, for the slowest process of a machine.",
            query(f"topk(10, max by (instance_id) ({_P99_LATENCY}))"),
            unit="s",
        ),
    ]


def _problems() -> list[Panel]:
    state = select("neuron_exporter_source_state", JOB, 'state!="ok"')
    return [
        panels.table(
            "Failed sources",
            "Exporters that answer but whose source does not report, with its state. Should be "
            "empty.",
            {"instance": "Exporter", "state": "State"},
            table_query(f"{state} == 1"),
            no_value="none",
        ),
        panels.table(
            "Unreachable exporters",
            "Targets of the selected jobs that Prometheus cannot scrape. Should be empty.",
            {"instance": "Exporter", "job": "Job"},
            table_query(f"{select('up', JOB)} == 0"),
            no_value="none",
        ),
    ]
