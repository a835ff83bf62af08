"""Fleet and Machine for CloudWatch, on the ten metrics of the standard preset.

The queries use the default dimension set, [InstanceId, InstanceType]. Their wildcards make Grafana
search, which also finds machines that are added later.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from grafana_foundation_sdk.builders import cloudwatch
from grafana_foundation_sdk.models.cloudwatch import (
    CloudWatchQueryMode,
    MetricEditorMode,
    MetricQueryType,
)
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef

from grafana.dashboards_src import colors, panels, variables
from grafana.dashboards_src.layout import Rows, dashboard
from grafana.dashboards_src.panels import Panel, Target
from grafana.dashboards_src.variables import ALL, Variable

CLOUDWATCH = DataSourceRef(type_val="cloudwatch", uid="${datasource}")

_stat = partial(panels.stat, datasource=CLOUDWATCH)
_graph = partial(panels.graph, datasource=CLOUDWATCH)


def cloudwatch_fleet() -> Dashboard:
    """Return the CloudWatch counterpart of Fleet."""
    return _dashboard(
        "fleet",
        "Utilization, executions, errors, memory and hosts of all machines, from CloudWatch.",
        _variables(one_machine=False),
        {"": _fleet_overview(), "Machines": _graphs("*")},
    )


def cloudwatch_machine() -> Dashboard:
    """Return the CloudWatch counterpart of Machine."""
    return _dashboard(
        "machine",
        "Averages and extremes over the cores of one machine, from CloudWatch.",
        _variables(one_machine=True),
        {"": _machine_overview(), "Machine": _graphs("$machine")},
    )


def _dashboard(name: str, description: str, choices: list[Variable], rows: Rows) -> Dashboard:
    return dashboard(
        f"neuron-exporter-cloudwatch-{name}",
        f"{name.capitalize()} on CloudWatch",
        description,
        choices,
        rows,
        kind="cloudwatch",
        refresh="1m",
        since="now-3h",
    )


def _variables(*, one_machine: bool) -> list[Variable]:
    machine = _dimension_variable(
        "machine", "Machine", "InstanceId", {"InstanceType": "$type"}, "Instance id."
    )
    type_ = _dimension_variable(
        "type", "Type", "InstanceType", {}, "Instance type of the machines."
    )
    region = variables.from_query(
        "region", "Region", {"queryType": "regions"}, "AWS region of the metrics.", CLOUDWATCH
    )
    return [
        variables.data_source("cloudwatch", "CloudWatch"),
        region,
        variables.text(
            "namespace",
            "Namespace",
            "NeuronExporter",
            "The exporters' setting cloudwatch.namespace.",
        ),
        type_.multi(False).include_all(True).all_value("*").current(ALL),
        *([machine] if one_machine else []),
    ]


def _dimension_variable(
    name: str, label: str, dimension: str, filters: dict[str, Any], description: str
) -> Any:
    """Return a variable with the values of a dimension."""
    query = {
        "queryType": "dimensionValues",
        "region": "$region",
        "namespace": "$namespace",
        "metricName": "ExporterHeartbeat",
        "dimensionKey": dimension,
        "dimensionFilters": filters,
    }
    return variables.from_query(name, label, query, description, CLOUDWATCH)


def _metric(
    name: str,
    statistic: str,
    machine: str,
    *,
    label: str = "",
    id_val: str = "",
    hide: bool = False,
) -> Target:
    """Return a query for a metric of the machines; expressions refer to it by `id_val`."""
    return (
        _query(id_val)
        .metric_editor_mode(MetricEditorMode.BUILDER)
        .metric_name(name)
        .dimensions({"InstanceId": machine, "InstanceType": "$type"})
        .statistic(statistic)
        .label(label or "${PROP('Dim.InstanceId')}")
        .hide(hide)
    )


def _math(expression: str, label: str) -> Target:
    """Return a metric math expression over other queries."""
    return (
        _query("")
        .metric_editor_mode(MetricEditorMode.CODE)
        .metric_name("")
        .dimensions({})
        .statistic("Average")
        .expression(expression)
        .label(label)
    )


def _query(id_val: str) -> Any:
    return (
        cloudwatch.CloudWatchMetricsQuery()
        .query_mode(CloudWatchQueryMode.METRICS)
        .metric_query_type(MetricQueryType.SEARCH)
        .id(id_val)
        .region("$region")
        .period("")
        .namespace("$namespace")
        .match_exact(True)
        .datasource(CLOUDWATCH)
    )


def _fleet_overview() -> list[Panel]:
    def total(metric: str, statistic: str, function: str = "SUM") -> tuple[Target, Target]:
        return (
            _metric(metric, statistic, "*", id_val="each", hide=True),
            _math(f"{function}(each)", metric),
        )

    return [
        _stat(
            "Machines",
            "Exporters whose neuron-monitor reports.",
            *total("ExporterHeartbeat", "Minimum"),
        ),
        _stat(
            "Cores in use",
            "Busy cores of all machines.",
            *total("NeuronCoresInUse", "Average"),
            decimals=0,
        ),
        _stat(
            "Utilization",
            "Average over the machines.",
            *total("NeuronCoreUtilization", "Average", "AVG"),
            unit="percent",
            decimals=1,
        ),
        _stat(
            "Executions",
            "Executions that completed in the time shown.",
            *total("ExecutionsCompleted", "Sum"),
            total=True,
            unit="short",
        ),
        _stat(
            "Failed executions",
            "Executions that failed in the time shown.",
            *total("ExecutionErrors", "Sum"),
            total=True,
            unit="short",
            steps=colors.RED_FROM_1,
        ),
        _stat(
            "Uncorrected ECC",
            "Uncorrected errors of memory and SRAM in the time shown.",
            *total("EccUncorrected", "Sum"),
            total=True,
            steps=colors.RED_FROM_1,
        ),
    ]


def _machine_overview() -> list[Panel]:
    return [
        _stat(
            "Source",
            "Whether neuron-monitor reports. Empty if the exporter or the machine is gone.",
            _metric("ExporterHeartbeat", "Minimum", "$machine"),
            texts=colors.SOURCE,
        ),
        _stat(
            "Utilization",
            "Average of all cores.",
            _metric("NeuronCoreUtilization", "Average", "$machine"),
            unit="percent",
            decimals=1,
            width=5,
        ),
        _stat(
            "Latest executions",
            "Executions that completed in the last period. Cores may hang that are busy while none "
            "completes.",
            _metric("ExecutionsCompleted", "Sum", "$machine"),
            unit="short",
            width=5,
        ),
        _stat(
            "Failed executions",
            "Executions that failed in the time shown.",
            _metric("ExecutionErrors", "Sum", "$machine"),
            unit="short",
            steps=colors.RED_FROM_1,
            total=True,
            width=5,
        ),
        _stat(
            "Uncorrected ECC",
            "Uncorrected errors of memory and SRAM in the time shown.",
            _metric("EccUncorrected", "Sum", "$machine"),
            steps=colors.RED_FROM_1,
            total=True,
            width=5,
        ),
    ]


def _graphs(machine: str) -> list[Panel]:
    prefix = "${PROP('Dim.InstanceId')} " if machine == "*" else ""

    def metric(name: str, statistic: str, legend: str) -> Target:
        return _metric(name, statistic, machine, label=f"{prefix}{legend}")

    return [
        _graph(
            "Utilization of cores",
            "Average and busiest core of each machine.",
            metric("NeuronCoreUtilization", "Average", "average"),
            metric("NeuronCoreUtilization", "Maximum", "busiest"),
            unit="percent",
        ),
        _graph(
            "Cores in use over time",
            "Number of busy cores.",
            metric("NeuronCoresInUse", "Average", "busy"),
            stacked=True,
        ),
        _graph(
            "Latency",
            "Median, 99th percentile and maximum of the execution latency. The percentiles are "
            "an approximation from those of each process, weighted by its completed executions.",
            metric("ExecutionLatency", "p50", "p50"),
            metric("ExecutionLatency", "p99", "p99"),
            metric("ExecutionLatency", "Maximum", "maximum"),
            logarithmic=True,
            unit="s",
        ),
        _graph(
            "Executions over time",
            "Executions that completed in each period.",
            metric("ExecutionsCompleted", "Sum", "completed"),
            unit="short",
            stacked=True,
            totals=True,
        ),
        _graph(
            "Failed executions over time",
            "Executions that failed in each period.",
            metric("ExecutionErrors", "Sum", "failed"),
            unit="short",
            hue="red",
            bars=True,
            totals=True,
        ),
        _graph(
            "Uncorrected ECC over time",
            "Uncorrected errors in each period. Results may be wrong.",
            metric("EccUncorrected", "Sum", "uncorrected"),
            hue="red",
            bars=True,
            totals=True,
        ),
        _graph(
            "Device memory",
            "Average and fullest device of each machine.",
            metric("NeuronDeviceMemoryUtilization", "Average", "average"),
            metric("NeuronDeviceMemoryUtilization", "Maximum", "fullest"),
            unit="percent",
            steps=colors.NEARLY_FULL_PERCENT,
        ),
        _graph(
            "Heartbeats",
            "1 while neuron-monitor reports, otherwise 0.",
            metric("ExporterHeartbeat", "Minimum", "reports"),
            maximum=1,
        ),
        _graph(
            "CPU of the host",
            "Share of the host's CPU time that was busy.",
            metric("HostCpuUtilization", "Average", "average"),
            unit="percent",
        ),
        _graph(
            "Memory of the host",
            "Share of the host's memory in use.",
            metric("HostMemoryUtilization", "Maximum", "maximum"),
            unit="percent",
            steps=colors.NEARLY_FULL_PERCENT,
        ),
    ]
