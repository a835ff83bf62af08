"""The recording rules: views that touch every core or runtime, and that dashboards or alerts need
again and again. Layout `core` only: with `prometheus.layout: aws` a core has many series."""

from __future__ import annotations

from grafana.rulebook.model import Group, Recording
from grafana.rulebook.parameters import HOLDER, IDLE, JOB, JOBS, MACHINE, SMOOTH, TARGET

_HELD = f"max by ({MACHINE}, {HOLDER}, runtime_tag, neuroncore) (neuroncore_runtime_info)"
_WORKLOAD = f"{MACHINE}, {HOLDER}, runtime_tag"


def _failing(executions: str, labels: str) -> str:
    """The share of executions that fail, where there are any."""
    return (
        f'sum by ({labels}) (rate({executions}{{status_type!="completed"}}[{SMOOTH}]))\n'
        f"  / (sum by ({labels}) (rate({executions}[{SMOOTH}])) > 0)"
    )


_MACHINES = (
    Recording(
        record=f"job:neuron_exporter_build_info:group{SMOOTH}",
        expr=(
            f"group by ({JOB}) "
            f'(last_over_time(neuron_exporter_build_info{{job=~"{JOBS}"}}[{SMOOTH}]))'
        ),
        because="A week of it says which jobs are the exporter's, when nothing answers any more: "
        "one series for a job in place of one for each of its machines.",
    ),
    Recording(
        record="instance:neuroncore_utilization:avg",
        expr=f"avg by ({MACHINE}) (neuroncore_utilization_ratio)",
        because="A fleet's heat map reads a series for each machine in place of 128.",
    ),
    Recording(
        record=f"instance:neuroncore_utilization:max_avg{SMOOTH}",
        expr=f"max by ({MACHINE}) (avg_over_time(neuroncore_utilization_ratio[{SMOOTH}]))",
        because="The busiest core tells a hang, whatever the others do.",
    ),
    Recording(
        record=f"instance:neuron_executions:rate{SMOOTH}",
        expr=f"sum by ({MACHINE}) (rate(neuron_executions_total[{SMOOTH}]))",
        because="Throughput of each machine, however its executions end.",
    ),
    Recording(
        record=f"instance:neuron_executions_failed:ratio_rate{SMOOTH}",
        expr=_failing("neuron_executions_total", MACHINE),
        because="The share that fails; absent where nothing is executed.",
    ),
)

_WORKLOADS = (
    Recording(
        record="workload:neuroncore_utilization:avg",
        expr=(
            f"avg by ({_WORKLOAD}) (\n"
            f"  {_HELD}\n"
            f"  * on ({TARGET}, neuroncore) group_left ()\n"
            f"    max by ({TARGET}, neuroncore) (neuroncore_utilization_ratio)\n"
            ")"
        ),
        because="A core does not say which runtime holds it: that takes a join for each core. "
        "Cores that runtimes share count for each of them.",
    ),
    Recording(
        record=f"workload:neuron_executions:rate{SMOOTH}",
        expr=f"sum by ({_WORKLOAD}) (rate(execution_status_total[{SMOOTH}]))",
        because="Throughput of each workload on each machine.",
    ),
    Recording(
        record=f"workload:neuron_executions_failed:ratio_rate{SMOOTH}",
        expr=_failing("execution_status_total", _WORKLOAD),
        because="The share of a workload's executions that fails.",
    ),
    Recording(
        record=f"workload:execution_latency_p99_seconds:avg{SMOOTH}",
        expr=(
            f"max by ({MACHINE}, runtime_tag) "
            f'(avg_over_time(execution_latency_seconds{{percentile="p99"}}[{SMOOTH}]))'
        ),
        because="A day of it is the baseline of NeuronLatencyHigh. Not by pod: a baseline outlives "
        "a rollout.",
    ),
    Recording(
        record=f"holder:neuroncores_allocated_idle:count{SMOOTH}",
        expr=(
            f"count by ({MACHINE}, {HOLDER}) (\n"
            f"  min_over_time(neuroncore_allocated[{SMOOTH}]) == 1\n"
            f"  and on ({TARGET}, neuroncore)\n"
            "    avg_over_time(neuroncore_utilization_ratio"
            f"[{SMOOTH}]) < {IDLE}\n"
            ")"
        ),
        because="Cores that were given to a pod and do next to nothing: money.",
    ),
)

GROUPS = (
    Group("neuron-machines", _MACHINES),
    Group("neuron-workloads", _WORKLOADS),
)
