"""Workload: what a pod, a task family or a process tag does, on whatever machines it runs."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import choice, dashboard, options, prometheus_variables, type_variable
from grafana.source.panels import (
    ANY_IS_ODD,
    About,
    Panel,
    columns,
    lines,
    number,
    query,
    rows,
    states,
)
from grafana.source.queries import FLEET, TARGET, WORKLOAD, idle_though_given, in_order, pick, rate

_HELD = (
    f"max by ({TARGET}, instance_id, neuroncore, $by) ({pick('neuroncore_runtime_info', WORKLOAD)})"
)
_BUSY = (
    f"{_HELD} * on ({TARGET}, neuroncore) group_left () "
    f"max by ({TARGET}, neuroncore) ({pick('neuroncore_utilization_ratio', FLEET)})"
)
_FAILED = 'status_type!="completed"'
_COMPLETED = 'status_type="completed"'


def workload() -> Dashboard:
    """The dashboard."""
    variables = [
        *prometheus_variables(),
        type_variable(),
        options(
            "by",
            "By",
            ("runtime_tag", "pod", "namespace", "container", "task_family", "service"),
            "What makes a workload: the tag of its process, or what Kubernetes or ECS calls it. "
            "Labels that the exporter does not know offer nothing to choose.",
        ),
        choice(
            "workload",
            "Workload",
            'label_values({__name__=~"neuroncore_runtime_info|neuroncore_allocated", '
            f'{FLEET}, $by!=""}}, $by)',
            "Who held cores, or was given them, in the time shown.",
            all_value=".+",
        ),
    ]
    return dashboard(
        "neuron-exporter-workload",
        "Workload",
        "Pods, task families or process tags: their cores, their speed, their errors.",
        variables,
        {"": _numbers(), "Cores": _cores(), "Executions": _executions(), "Memory": _memory()},
    )


def _numbers() -> list[Panel]:
    failed = f"sum({rate('execution_status_total', WORKLOAD, _FAILED)})"
    ended = f"sum({rate('execution_status_total', WORKLOAD)})"
    slowest = pick("execution_latency_seconds", WORKLOAD, 'percentile="p99"')
    return [
        number(
            About(
                "Cores",
                "Cores that the chosen workloads hold. One that two share counts once.",
                "none",
                4,
                4,
            ),
            query(f"count(max by ({TARGET}, neuroncore) ({_HELD}))"),
            none="0",
        ),
        number(
            About(
                "Utilization",
                "Average of the cores that they hold. A core that two hold is busy for both.",
                "percentunit",
                4,
                4,
            ),
            query(f"avg({_BUSY})"),
            decimals=1,
        ),
        number(
            About("Throughput", "Executions a second that completed.", "ops", 4, 4),
            query(f"sum({rate('execution_status_total', WORKLOAD, _COMPLETED)})"),
        ),
        number(
            About(
                "Share that failed",
                "Executions that did not end as completed, of all; nothing while none end.",
                "percentunit",
                4,
                4,
            ),
            query(f"{failed} / ({ended} > 0)"),
            none="nothing ends",
        ),
        number(
            About(
                "p99", "The slowest process's 99th percentile of an execution's time.", "s", 4, 4
            ),
            query(f"max({slowest})"),
            none="nothing ends",
        ),
        number(
            About(
                "Given but idle",
                "Cores that their pods were given and that were not busy lately; known by pod, "
                "namespace or container.",
                "none",
                4,
                4,
            ),
            query(f"sum({idle_though_given(WORKLOAD)})"),
            steps=ANY_IS_ODD,
            none="not known",
        ),
    ]


def _cores() -> list[Panel]:
    each_core = in_order(f"max by ($by, instance_id, neuroncore) ({_BUSY})")
    return [
        states(
            About(
                "Their cores",
                "A band for each core that they hold, the darker the busier; it ends when they "
                "let it go.",
                "percentunit",
                24,
                10,
            ),
            query(each_core, "{{$by}} {{instance_id}} {{core}}"),
        ),
        lines(
            About(
                "Utilization by workload", "Average of the cores that each holds.", "percentunit"
            ),
            query(f"avg by ($by) ({_BUSY})"),
            most=1,
        ),
        lines(
            About(
                "Cores by workload",
                "Cores that each holds. One that two share counts for both.",
                "none",
            ),
            query(f"count by ($by) ({_HELD})"),
            stacked=True,
        ),
        columns(
            About(
                "Given and not used now",
                "Who was given cores that were not busy lately, and where. Empty is well, and "
                "where nobody tells who was given what.",
                "none",
                24,
                6,
            ),
            {
                "namespace": "Namespace",
                "pod": "Pod",
                "container": "Container",
                "instance_id": "Machine",
                "Value": "Idle cores",
            },
            rows(
                "sum by (namespace, pod, container, instance_id) "
                f"({idle_though_given(WORKLOAD)}) > 0"
            ),
        ),
    ]


def _executions() -> list[Panel]:
    shown = pick("execution_latency_seconds", WORKLOAD, 'percentile=~"p50|p99"')
    on_device = pick("execution_device_latency_seconds", WORKLOAD, 'percentile=~"p50|p99"')
    return [
        lines(
            About(
                "Latency",
                "Median and 99th percentile of an execution's time in all; of several processes "
                "the slowest's.",
                "s",
            ),
            query(f"max by ($by, percentile) ({shown})"),
        ),
        lines(
            About("Latency on the device", "The part that was spent on the device.", "s"),
            query(f"max by ($by, percentile) ({on_device})"),
        ),
        lines(
            About("Throughput by workload", "Executions a second that completed.", "ops"),
            query(f"sum by ($by) ({rate('execution_status_total', WORKLOAD, _COMPLETED)})"),
            stacked=True,
        ),
        lines(
            About("Failed executions", "Executions a second, by how they failed.", "ops"),
            query(
                f"sum by ($by, status_type) ({rate('execution_status_total', WORKLOAD, _FAILED)})"
            ),
            stacked=True,
        ),
        lines(
            About("Errors", "Errors a second, by type.", "ops", 24, 7),
            query(f"sum by ($by, error_type) ({rate('execution_errors_total', WORKLOAD)})"),
            stacked=True,
        ),
    ]


def _memory() -> list[Panel]:
    memory = "neuron_runtime_memory_used_bytes"
    return [
        lines(
            About("Memory", "What each has on devices and on the host.", "bytes"),
            query(f"sum by ($by, memory_location) ({pick(memory, WORKLOAD)})"),
            stacked=True,
        ),
        lines(
            About("CPU", "Share of the hosts' CPU time that each takes.", "percentunit"),
            query(f"sum by ($by) ({pick('neuron_runtime_vcpu_usage_ratio', WORKLOAD)})"),
        ),
    ]
