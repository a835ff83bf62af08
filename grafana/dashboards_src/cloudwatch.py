"""Fleet and Machine without Prometheus: the ten metrics of CloudWatch's standard preset.

They are asked for in the default dimension set, [InstanceId, InstanceType]. A wildcard makes
Grafana search, and find machines that come later.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import cloudwatch
from grafana_foundation_sdk.models.cloudwatch import (
    CloudWatchQueryMode,
    MetricEditorMode,
    MetricQueryType,
)
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef

from grafana.source.frame import ALL, Variable, dashboard, query_variable, source, text
from grafana.source.panels import (
    ANY_IS_BAD,
    FULL,
    ZERO_IS_BAD,
    About,
    Panel,
    Target,
    lines,
    number,
)

CLOUDWATCH = DataSourceRef(type_val="cloudwatch", uid="${datasource}")


def cloudwatch_fleet() -> Dashboard:
    """The twin of Fleet."""
    return dashboard(
        "neuron-exporter-cloudwatch-fleet",
        "Fleet on CloudWatch",
        "All machines by what CloudWatch has: utilization, executions, errors, memory, hosts.",
        _variables(many=True),
        {"": _fleet_numbers(), "Machines": _panels("*")},
        refresh="1m",
        since="now-3h",
    )


def cloudwatch_machine() -> Dashboard:
    """The twin of Machine."""
    return dashboard(
        "neuron-exporter-cloudwatch-machine",
        "Machine on CloudWatch",
        "One machine by what CloudWatch has: averages and extremes of all its cores.",
        _variables(many=False),
        {"": _machine_numbers(), "Machine": _panels("$machine")},
        refresh="1m",
        since="now-3h",
    )


def _variables(*, many: bool) -> list[Variable]:
    machine = _choice(
        "machine", "Machine", "InstanceId", {"InstanceType": ["$type"]}, "The instance's id."
    )
    type_ = _choice("type", "Type", "InstanceType", {}, "The machines' type.")
    return [
        source("cloudwatch", "CloudWatch"),
        query_variable(
            "region", "Region", {"queryType": "regions"}, "Where the metrics are.", CLOUDWATCH
        ),
        text("namespace", "Namespace", "NeuronExporter", "cloudwatch.namespace of the exporters."),
        type_.multi(False).include_all(True).all_value("*").current(ALL),
        *([] if many else [machine]),
    ]


def _choice(name: str, label: str, dimension: str, among: dict[str, Any], description: str) -> Any:
    """A variable with the values of a dimension."""
    asked = {
        "queryType": "dimensionValues",
        "region": "$region",
        "namespace": "$namespace",
        "metricName": "ExporterHeartbeat",
        "dimensionKey": dimension,
        "dimensionFilters": among,
    }
    return query_variable(name, label, asked, description, CLOUDWATCH)


def _metric(
    name: str,
    statistic: str,
    machine: str,
    *,
    label: str = "",
    id_val: str = "",
    hide: bool = False,
) -> Target:
    """A metric of the machines; `id_val` is what an expression calls it."""
    return (
        _query(id_val)
        .metric_editor_mode(MetricEditorMode.BUILDER)
        .namespace("$namespace")
        .metric_name(name)
        .dimensions({"InstanceId": [machine], "InstanceType": ["$type"]})
        .match_exact(True)
        .statistic(statistic)
        .label(label or "${PROP('Dim.InstanceId')}")
        .hide(hide)
    )


def _math(expression: str, label: str) -> Target:
    """What is made of others."""
    return (
        _query("")
        .metric_editor_mode(MetricEditorMode.CODE)
        .namespace("$namespace")
        .metric_name("")
        .dimensions({})
        .match_exact(True)
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
        .datasource(CLOUDWATCH)
    )


def _fleet_numbers() -> list[Panel]:
    def summed(metric: str, statistic: str, function: str = "SUM") -> tuple[Target, Target]:
        return (
            _metric(metric, statistic, "*", id_val="each", hide=True),
            _math(f"{function}(each)", metric),
        )

    return [
        number(
            _about("Machines that read", "Exporters whose neuron-monitor reports.", "none", 4, 4),
            *summed("ExporterHeartbeat", "Minimum"),
        ),
        number(
            _about("Cores in use", "Cores that are busy, of all machines.", "none", 4, 4),
            *summed("NeuronCoresInUse", "Average"),
            decimals=1,
        ),
        number(
            _about("Utilization", "Average of the machines' averages.", "percent", 4, 4),
            *summed("NeuronCoreUtilization", "Average", "AVG"),
            decimals=1,
        ),
        number(
            _about("Executions", "Completed in the last period.", "none", 4, 4),
            *summed("ExecutionsCompleted", "Sum"),
        ),
        number(
            _about("Failed executions", "In the last period, in whatever way.", "none", 4, 4),
            *summed("ExecutionErrors", "Sum"),
            steps=ANY_IS_BAD,
        ),
        number(
            _about("Uncorrected ECC", "Of memory and SRAM, in the last period.", "none", 4, 4),
            *summed("EccUncorrected", "Sum"),
            steps=ANY_IS_BAD,
        ),
    ]


def _machine_numbers() -> list[Panel]:
    one = "$machine"
    return [
        number(
            _about(
                "Source",
                "1 while neuron-monitor reports, 0 while it does not; nothing where the exporter "
                "or the machine has gone.",
                "none",
                8,
                4,
            ),
            _metric("ExporterHeartbeat", "Minimum", one),
            steps=ZERO_IS_BAD,
        ),
        number(
            _about("Utilization", "Average of all cores.", "percent", 8, 4),
            _metric("NeuronCoreUtilization", "Average", one),
            decimals=1,
        ),
        number(
            _about("Failed executions", "In the last period, in whatever way.", "none", 8, 4),
            _metric("ExecutionErrors", "Sum", one),
            steps=ANY_IS_BAD,
        ),
    ]


def _panels(machine: str) -> list[Panel]:
    named = "${PROP('Dim.InstanceId')} " if machine == "*" else ""

    def metric(name: str, statistic: str, said: str) -> Target:
        return _metric(name, statistic, machine, label=f"{named}{said}")

    return [
        lines(
            _about("Utilization of cores", "Average and busiest of a machine's cores.", "percent"),
            metric("NeuronCoreUtilization", "Average", "average"),
            metric("NeuronCoreUtilization", "Maximum", "busiest"),
            most=100,
        ),
        lines(
            _about("Cores in use over time", "Cores that were busy.", "none"),
            metric("NeuronCoresInUse", "Average", "busy"),
            stacked=True,
        ),
        lines(
            _about(
                "Latency",
                "Median and 99th percentile of executions: each process's percentiles, weighted "
                "by what it completed; an approximation.",
                "s",
            ),
            metric("ExecutionLatency", "p50", "p50"),
            metric("ExecutionLatency", "p99", "p99"),
        ),
        lines(
            _about("Executions over time", "Completed in each period.", "none"),
            metric("ExecutionsCompleted", "Sum", "completed"),
            stacked=True,
        ),
        lines(
            _about("Failed executions over time", "In each period, in whatever way.", "none"),
            metric("ExecutionErrors", "Sum", "failed"),
            bars=True,
        ),
        lines(
            _about("Uncorrected ECC over time", "Results may be wrong.", "none"),
            metric("EccUncorrected", "Sum", "uncorrected"),
            bars=True,
        ),
        lines(
            _about("Device memory", "Average and fullest of a machine's devices.", "percent"),
            metric("NeuronDeviceMemoryUtilization", "Average", "average"),
            metric("NeuronDeviceMemoryUtilization", "Maximum", "fullest"),
            steps=[step._replace(value=step.value and step.value * 100) for step in FULL],
            most=100,
        ),
        lines(
            _about("Heartbeats", "1 while neuron-monitor reports, 0 while it does not.", "none"),
            metric("ExporterHeartbeat", "Minimum", "reads"),
            most=1,
        ),
        lines(
            _about("CPU of the host", "Share of all CPUs' time that was busy.", "percent"),
            metric("HostCpuUtilization", "Average", "average"),
            most=100,
        ),
        lines(
            _about("Memory of the host", "Share of the host's memory that is in use.", "percent"),
            metric("HostMemoryUtilization", "Maximum", "most"),
            steps=[step._replace(value=step.value and step.value * 100) for step in FULL],
            most=100,
        ),
    ]


def _about(title: str, description: str, unit: str, width: int = 12, height: int = 8) -> About:
    return About(title, description, unit, width, height, CLOUDWATCH)
