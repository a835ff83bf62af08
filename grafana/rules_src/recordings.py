"""Recording rules: aggregates over every core or runtime that dashboards and alerts share.

They need layout `core`; with `prometheus.layout: aws` a core has several series.
"""

from __future__ import annotations

from grafana.rules_src import devices, jobs, problems
from grafana.rules_src.model import Group, Recording
from grafana.rules_src.parameters import (
    BATCH_JOB,
    IDLE_UTILIZATION,
    JOB,
    JOBS,
    MACHINE,
    OWNER,
    TARGET,
    WINDOW,
)
from neuron_exporter.facts.report_names import FAILED_STATUSES

_WORKLOAD = f"{MACHINE}, {OWNER}, {BATCH_JOB}, runtime_tag"
_RUNTIME_CORES = f"max by ({_WORKLOAD}, neuroncore) (neuroncore_runtime_info)"
_FAILED = "|".join(FAILED_STATUSES)

_AVERAGES = f"avg_over_time(neuroncore_utilization_ratio[{WINDOW}])"
_AVERAGE = f"max by ({MACHINE}, neuroncore) ({_AVERAGES})"
"""Average of each core. A core whose owner changed in the window has two series."""

_IDLE = f"{_AVERAGE} < bool {IDLE_UTILIZATION}"

_MACHINES = (
    Recording(
        record=f"job:neuron_exporter_build_info:group{WINDOW}",
        expr=(
            f"group by ({JOB}) "
            f'(last_over_time(neuron_exporter_build_info{{job=~"{JOBS}"}}[{WINDOW}]))'
        ),
        rationale="Identifies the exporters' jobs for a week after the last answer, with one "
        "series per job rather than one per machine.",
    ),
    Recording(
        record="instance:neuroncore_utilization:avg",
        expr=f"avg by ({MACHINE}) (neuroncore_utilization_ratio)",
        rationale="A fleet's heat map reads one series per machine rather than 128.",
    ),
    Recording(
        record="instance:neuroncores:count",
        expr=f"count by ({MACHINE}) (neuroncore_utilization_ratio)",
        rationale="Cores per machine, so that averages over a fleet count each core once.",
    ),
    Recording(
        record="instance:neurondevice_memory_utilization:max",
        expr=f"max by ({MACHINE}) (neurondevice_memory_utilization_ratio)",
        rationale="The fullest device of each machine.",
    ),
    Recording(
        record=f"instance:neuroncore_utilization:max_avg{WINDOW}",
        expr=f"max by ({MACHINE}) ({_AVERAGES})",
        rationale="The busiest core reveals a hang, regardless of the other cores.",
    ),
    Recording(
        record=f"instance:neuroncores_idle:count{WINDOW}",
        expr=f"sum by ({MACHINE}) ({_IDLE})",
        rationale="Cores that cost money without any use, whatever their allocation.",
    ),
    Recording(
        record=f"instance:neuroncores_free_idle:count{WINDOW}",
        expr=(
            f"sum by ({MACHINE}) (\n"
            f"  (max by ({MACHINE}, neuroncore) (max_over_time(neuroncore_allocated[{WINDOW}]))"
            " == bool 0)\n"
            f"  * on ({TARGET}, neuroncore) group_left ()\n"
            f"    max by ({TARGET}, neuroncore) ({_IDLE})\n"
            ")"
        ),
        rationale="Those of them that are allocated to no pod; absent where that is unknown.",
    ),
    Recording(
        record="instance:neuroncore_allocated:count",
        expr=f"count by ({MACHINE}) (neuroncore_allocated)",
        rationale="Present while the exporter knows which cores are allocated; NeuronOwnersUnknown "
        "looks back a day.",
    ),
    Recording(
        record=f"instance:neuron_executions:rate{WINDOW}",
        expr=f"sum by ({MACHINE}) (rate(neuron_executions_total[{WINDOW}]))",
        rationale="Throughput per machine, over all execution statuses.",
    ),
    Recording(
        record=f"instance:neuron_executions_failed:ratio_rate{WINDOW}",
        expr=(
            f"sum by ({MACHINE}) "
            f'(rate(neuron_executions_total{{status_type=~"{_FAILED}"}}[{WINDOW}]))\n'
            f"  / (instance:neuron_executions:rate{WINDOW} > 0)"
        ),
        rationale="Failure ratio per machine; absent where nothing executes.",
    ),
)

_WORKLOADS = (
    Recording(
        record="workload:neuroncore_utilization:sum",
        expr=(
            f"sum by ({_WORKLOAD}) (\n"
            f"  {_RUNTIME_CORES}\n"
            f"  * on ({TARGET}, neuroncore) group_left ()\n"
            f"    max by ({TARGET}, neuroncore) (neuroncore_utilization_ratio)\n"
            ")"
        ),
        rationale="A core's series does not name its runtime, which takes a join per core. A core "
        "that several runtimes share counts for each of them.",
    ),
    Recording(
        record="workload:neuroncores:count",
        expr=f"count by ({_WORKLOAD}) ({_RUNTIME_CORES})",
        rationale="Cores per workload; with the sum, the utilization of any group of workloads.",
    ),
    Recording(
        record="workload:neuroncore_utilization:avg",
        expr="workload:neuroncore_utilization:sum / workload:neuroncores:count",
        rationale="Utilization per workload.",
    ),
    Recording(
        record=f"workload:neuron_executions_by_status:rate{WINDOW}",
        expr=f"sum by ({_WORKLOAD}, status_type) (rate(execution_status_total[{WINDOW}]))",
        rationale="Throughput and failures of all workloads without the rates of every counter.",
    ),
    Recording(
        record=f"workload:neuron_execution_errors:rate{WINDOW}",
        expr=f"sum by ({_WORKLOAD}, error_type) (rate(execution_errors_total[{WINDOW}]))",
        rationale="Errors of all workloads by type.",
    ),
    Recording(
        record=f"workload:neuron_executions:rate{WINDOW}",
        expr=f"sum by ({_WORKLOAD}) (workload:neuron_executions_by_status:rate{WINDOW})",
        rationale="Throughput per workload and machine.",
    ),
    Recording(
        record=f"workload:neuron_executions_failed:ratio_rate{WINDOW}",
        expr=(
            f"sum by ({_WORKLOAD}) "
            f'(workload:neuron_executions_by_status:rate{WINDOW}{{status_type=~"{_FAILED}"}})\n'
            f"  / (workload:neuron_executions:rate{WINDOW} > 0)"
        ),
        rationale="Failure ratio per workload and machine.",
    ),
    Recording(
        record=f"workload:execution_latency_p99_seconds:avg{WINDOW}",
        expr=(
            f"max by ({MACHINE}, runtime_tag) "
            f'(avg_over_time(execution_latency_seconds{{percentile="p99"}}[{WINDOW}]))'
        ),
        rationale="A day of it is the baseline of NeuronLatencyHigh. It has no pod label because "
        "the baseline must outlive a rollout.",
    ),
    Recording(
        record="holder:neuroncores_allocated:count",
        expr=f"count by ({MACHINE}, {OWNER}) (neuroncore_allocated == 1)",
        rationale="Tells a pod without idle cores from one whose allocation is unknown.",
    ),
    Recording(
        record=f"holder:neuroncores_allocated_idle:count{WINDOW}",
        expr=(
            f"count by ({MACHINE}, {OWNER}) (\n"
            f"  max by ({MACHINE}, {OWNER}, neuroncore)"
            f" (min_over_time(neuroncore_allocated[{WINDOW}])) == 1\n"
            f"  and on ({TARGET}, neuroncore)\n"
            f"    {_AVERAGE} < {IDLE_UTILIZATION}\n"
            ")"
        ),
        rationale="Cores that are allocated to a pod and idle cost money without any use.",
    ),
)

GROUPS = (
    Group("neuron-machines", _MACHINES),
    Group("neuron-workloads", _WORKLOADS),
    Group("neuron-jobs", jobs.RULES),
    Group("neuron-devices", devices.RULES),
    Group("neuron-problems", problems.RULES),
)
