"""Workload: cores, executions and memory of pods, tasks, jobs or process tags, on any machine."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards_src import colors, common, panels, tables, variables, workloads
from grafana.dashboards_src.jobs import machines_of_jobs
from grafana.dashboards_src.layout import LINKS, dashboard
from grafana.dashboards_src.panels import Panel, query
from grafana.dashboards_src.queries import (
    COMPLETED,
    FAILED,
    FLEET,
    JOB,
    P99,
    TARGET,
    WORKLOAD,
    allocated_idle,
    select,
)
from grafana.dashboards_src.tables import table_query
from grafana.rules_src.problems import RANK
from neuron_exporter.facts.problems import STALLED_SECONDS

_CORES = select("workload:neuroncores:count", WORKLOAD)
_USED = select("neuroncore_runtime_info", WORKLOAD)
_BUSY = select("workload:neuroncore_utilization:sum", WORKLOAD)
_IDLE = select("holder:neuroncores_allocated_idle:count5m", WORKLOAD)
_GAP = select("neuron_execution_gap_seconds", WORKLOAD)
_EXECUTIONS = "workload:neuron_executions_by_status:rate5m"
_COMPLETED = select(_EXECUTIONS, WORKLOAD, COMPLETED)
_FAILED = select(_EXECUTIONS, WORKLOAD, FAILED)


def _utilization(labels: str) -> str:
    """Return the average utilization of the cores of each combination of labels.

    It reads a recorded sum and count per workload and machine instead of every core of a fleet.
    """
    return f"sum by ({labels}) ({_BUSY}) / sum by ({labels}) ({_CORES})"


def workload() -> Dashboard:
    """Return the dashboard."""
    choices = [
        *variables.prometheus(),
        variables.instance_type(),
        variables.choice(
            "by",
            "By",
            (
                *("runtime_tag", "pod", "namespace", "container", "task_family", "service"),
                *("job_id", "job_name"),
            ),
            "Label that identifies a workload: the tag of its process, its name in Kubernetes "
            "or ECS, or its job in a scheduler such as Slurm. Labels that the exporter does not "
            "set offer no values.",
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
        "Cores, executions and memory of pods, task families, jobs or process tags.",
        choices,
        {
            "": [
                *_overview(),
                workloads.workloads_worst_first("Workloads, worst first", workloads.CHOSEN, 9),
                workloads.workloads_worst_first(
                    "Workloads on each machine, worst first", workloads.CHOSEN_BY_MACHINE, 10
                ),
            ],
            "Cores": _cores(),
            "Executions": _executions(),
            "Memory": _memory(),
            "Machines of jobs": machines_of_jobs(),
            "Idle allocations": _idle(),
        },
    )


def _overview() -> list[Panel]:
    finished = select("workload:neuron_executions:rate5m", WORKLOAD)
    return [
        panels.stat(
            "Cores",
            "Cores that the selected workloads use now. A shared core counts once.",
            query(f"count(max by ({TARGET}, neuroncore) ({_USED}))", instant=True),
            no_value="0",
        ),
        panels.stat(
            "Utilization",
            "Average of the cores that the workloads use. A shared core counts for each of them.",
            query(_utilization("")),
            unit="percentunit",
            decimals=0,
            width=5,
        ),
        panels.stat(
            "Throughput",
            "Completed executions per second.",
            query(f"sum({_COMPLETED})"),
            unit="ops",
            width=5,
        ),
        panels.stat(
            "Failure ratio",
            "Share of executions that did not complete. Empty while nothing executes.",
            query(f"sum({_FAILED}) / (sum({finished}) > 0)"),
            unit="percentunit",
            decimals=2,
            no_value="no executions",
            width=5,
        ),
        panels.stat(
            "p99",
            "99th percentile of the execution latency, for the slowest process.",
            query(f"max({select('execution_latency_seconds', WORKLOAD, P99)})"),
            unit="s",
            no_value="no executions",
            width=5,
        ),
    ]


def _cores() -> list[Panel]:
    return [
        _utilization_by_machine(),
        panels.graph(
            "Utilization by workload",
            "Average of the cores that each workload uses.",
            query(_utilization("$by"), "{{$by}}"),
            unit="percentunit",
        ),
        panels.graph(
            "Cores by workload",
            "Cores that each workload uses. A shared core counts for each of them.",
            query(f"sum by ($by) ({_CORES})", "{{$by}}"),
            stacked=True,
        ),
    ]


def _utilization_by_machine() -> Panel:
    labels = "$by, instance_id"
    stalled = f"{_GAP} >= {STALLED_SECONDS}"
    is_hung = 'reason="hung"'
    hung = f"0 * max by ({TARGET}) ({select(RANK, JOB, is_hung)}) + {colors.HUNG}"
    band = (
        f"max by ({labels}) (0 * ({stalled}) + on ({TARGET}) group_left () ({hung})) "
        f"or max by ({labels}) (0 * ({stalled}) + {colors.NO_EXECUTION}) "
        f"or {_utilization(labels)}"
    )
    without_execution = f"on ({labels}) ({_GAP} @ end() >= {STALLED_SECONDS})"
    return panels.timeline(
        "Utilization on each machine",
        "One band per workload and machine: the average of the cores that it uses there, the "
        "darker the busier. A band ends when the workload releases its cores. Workloads of which "
        "no execution ends (▲) come first.",
        query(f"({band}) and {without_execution}", "▲ {{$by}} {{instance_id}}"),
        query(f"({band}) unless {without_execution}", "{{$by}} {{instance_id}}"),
        hangs=True,
        unit="percentunit",
        width=24,
        height=12,
    )


def _executions() -> list[Panel]:
    errors = select("workload:neuron_execution_errors:rate5m", WORKLOAD)
    return [
        common.latency(
            "Latency",
            "Median, 99th percentile and maximum of the total execution latency, for the slowest "
            "process of each workload.",
            "execution_latency_seconds",
            WORKLOAD,
            by="$by",
        ),
        common.latency(
            "Latency on the device",
            "Median, 99th percentile and maximum of the time on the device.",
            "execution_device_latency_seconds",
            WORKLOAD,
            by="$by",
        ),
        panels.rates(
            "Throughput by workload",
            "Completed executions per second.",
            query(f"sum by ($by) ({_COMPLETED})", "{{$by}}"),
        ),
        panels.rates(
            "Failed executions",
            "Failed executions per second of the selected workloads, by final status.",
            query(f"sum by (status_type) ({_FAILED})", "{{status_type}}"),
            names=colors.STATUSES,
        ),
        panels.rates(
            "Errors",
            "Execution errors per second of the selected workloads, by type.",
            query(f"sum by (error_type) ({errors})", "{{error_type}}"),
            names=colors.ERROR_TYPES,
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
            query(f"sum by ($by, memory_location) ({memory})", "{{$by}} {{memory_location}}"),
            unit="bytes",
            stacked=True,
        ),
        panels.graph(
            "CPU on the busiest host",
            "Share of a host's CPU time that each workload uses, for the host where it uses most.",
            query(
                "max by ($by) (sum by ($by, instance_id) "
                f"({select('neuron_runtime_vcpu_usage_ratio', WORKLOAD)}))",
                "{{$by}}",
            ),
            unit="percentunit",
        ),
    ]


def _idle() -> list[Panel]:
    return [
        panels.stat(
            "Allocated but idle",
            "Cores that are allocated to the workloads' pods and were idle for five minutes. Known "
            "by pod, namespace or container.",
            query(allocated_idle(WORKLOAD)),
            steps=colors.ORANGE_FROM_1,
            no_value="unknown",
            height=6,
        ),
        tables.table(
            "Current idle allocations",
            "Pods with allocated cores that were idle for five minutes. Should be empty; also "
            "empty where allocations are unknown.",
            {
                "namespace": "Namespace",
                "pod": "Pod",
                "container": "Container",
                "instance_id": "Machine",
                "Value": "Idle cores",
            },
            table_query(f"sum by (namespace, pod, container, instance_id) ({_IDLE})"),
            links=LINKS,
            sort={"Idle cores": True},
            width=20,
            height=6,
        ),
    ]
