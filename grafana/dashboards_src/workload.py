"""Workload: cores, executions and memory of pods, tasks or process tags, on any machine."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import panels, variables
from grafana.dashboards_src.layout import dashboard
from grafana.dashboards_src.panels import Panel, query, table_query
from grafana.dashboards_src.queries import (
    COMPLETED,
    FAILED,
    FLEET,
    P99,
    TARGET,
    WORKLOAD,
    allocated_idle,
    pad_core,
    rate,
    select,
    utilization,
)

_USED_CORES = (
    f"max by ({TARGET}, instance_id, neuroncore, $by) "
    f"({select('neuroncore_runtime_info', WORKLOAD)})"
)
_UTILIZATION = (
    f"{_USED_CORES} * on ({TARGET}, neuroncore) group_left () "
    f"max by ({TARGET}, neuroncore) ({utilization(FLEET)})"
)
_COMPLETED = rate("execution_status_total", WORKLOAD, COMPLETED)
_FAILED = rate("execution_status_total", WORKLOAD, FAILED)


def workload() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.instance_type(),
        variables.choice(
            "by",
            "By",
            ("runtime_tag", "pod", "namespace", "container", "task_family", "service"),
            "Label that identifies a workload: the tag of its process, or its name in Kubernetes "
            "or ECS. Labels that the exporter does not set offer no values.",
        ),
        variables.from_label(
            "workload",
            "Workload",
            'label_values({__name__=~"neuroncore_runtime_info|neuroncore_allocated", '
            f'{FLEET}, $by!=""}}, $by)',
            "Workloads that used cores, or had cores allocated, in the time shown.",
            all_value=".+",
        ),
    ]
    return dashboard(
        "neuron-exporter-workload",
        "Workload",
        "Cores, executions and memory of pods, task families or process tags.",
        choices,
        {"": _overview(), "Cores": _cores(), "Executions": _executions(), "Memory": _memory()},
    )


def _overview() -> list[Panel]:
    finished = rate("execution_status_total", WORKLOAD)
    return [
        panels.stat(
            "Cores",
            "Cores that the selected workloads use. A shared core counts once.",
            query(f"count(max by ({TARGET}, neuroncore) ({_USED_CORES}))"),
            no_value="0",
        ),
        panels.stat(
            "Utilization",
            "Average of the cores that the workloads use. A shared core counts for each of them.",
            query(f"avg({_UTILIZATION})"),
            unit="percentunit",
            decimals=1,
        ),
        panels.stat(
            "Throughput",
            "Completed executions per second.",
            query(f"sum({_COMPLETED})"),
            unit="ops",
        ),
        panels.stat(
            "Failure ratio",
            "Share of executions that did not complete. Empty while nothing executes.",
            query(f"sum({_FAILED}) / (sum({finished}) > 0)"),
            unit="percentunit",
            no_value="no executions",
        ),
        panels.stat(
            "p99",
            "99th percentile of the execution latency, for the slowest process.",
            query(f"max({select('execution_latency_seconds', WORKLOAD, P99)})"),
            unit="s",
            no_value="no executions",
        ),
        panels.stat(
            "Allocated but idle",
            "Cores that are allocated to the workloads' pods and were idle recently. Known by pod, "
            "namespace or container.",
            query(f"sum({allocated_idle(WORKLOAD)})"),
            steps=panels.ORANGE_FROM_1,
            no_value="unknown",
        ),
    ]


def _cores() -> list[Panel]:
    each_core = pad_core(f"max by ($by, instance_id, neuroncore) ({_UTILIZATION})")
    return [
        panels.timeline(
            "Utilization of each core",
            "One band per core that the workloads use. Darker is busier; a band ends when the "
            "workload releases the core.",
            query(each_core, "{{$by}} {{instance_id}} {{core}}"),
            unit="percentunit",
            width=24,
            height=10,
        ),
        panels.graph(
            "Utilization by workload",
            "Average of the cores that each workload uses.",
            query(f"avg by ($by) ({_UTILIZATION})"),
            unit="percentunit",
            maximum=1,
        ),
        panels.graph(
            "Cores by workload",
            "Cores that each workload uses. A shared core counts for each of them.",
            query(f"count by ($by) ({_USED_CORES})"),
            stacked=True,
        ),
        panels.table(
            "Current idle allocations",
            "Pods with allocated cores that were idle recently. Should be empty; also empty where "
            "allocations are unknown.",
            {
                "namespace": "Namespace",
                "pod": "Pod",
                "container": "Container",
                "instance_id": "Machine",
                "Value": "Idle cores",
            },
            table_query(
                f"sum by (namespace, pod, container, instance_id) ({allocated_idle(WORKLOAD)}) > 0"
            ),
            width=24,
            height=6,
        ),
    ]


def _executions() -> list[Panel]:
    percentiles = 'percentile=~"p50|p99"'
    latency = select("execution_latency_seconds", WORKLOAD, percentiles)
    device_latency = select("execution_device_latency_seconds", WORKLOAD, percentiles)
    errors = rate("execution_errors_total", WORKLOAD)
    return [
        panels.graph(
            "Latency",
            "Median and 99th percentile of the total execution latency, for the slowest process.",
            query(f"max by ($by, percentile) ({latency})"),
            unit="s",
        ),
        panels.graph(
            "Latency on the device",
            "Median and 99th percentile of the time on the device.",
            query(f"max by ($by, percentile) ({device_latency})"),
            unit="s",
        ),
        panels.rates(
            "Throughput by workload",
            "Completed executions per second.",
            query(f"sum by ($by) ({_COMPLETED})"),
        ),
        panels.rates(
            "Failed executions",
            "Failed executions per second, by final status.",
            query(f"sum by ($by, status_type) ({_FAILED})"),
        ),
        panels.rates(
            "Errors",
            "Execution errors per second, by type.",
            query(f"sum by ($by, error_type) ({errors})"),
            width=24,
            height=7,
        ),
    ]


def _memory() -> list[Panel]:
    memory = select("neuron_runtime_memory_used_bytes", WORKLOAD)
    return [
        panels.graph(
            "Memory",
            "Memory that each workload uses on devices and on the host.",
            query(f"sum by ($by, memory_location) ({memory})"),
            unit="bytes",
            stacked=True,
        ),
        panels.graph(
            "CPU",
            "Share of the hosts' CPU time that each workload uses.",
            query(f"sum by ($by) ({select('neuron_runtime_vcpu_usage_ratio', WORKLOAD)})"),
            unit="percentunit",
        ),
    ]
