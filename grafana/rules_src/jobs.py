"""Recorded comparison of the machines of a job that a scheduler runs on several of them.

The job is the label `job_id` of the processes (`identity.process_labels`). Without it, nothing is
recorded. Machines are compared within a cluster and Prometheus job, where an id is unique.
"""

from __future__ import annotations

from grafana.rules_src.model import Recording
from grafana.rules_src.parameters import BATCH_JOB, JOB, MACHINE, WINDOW

SAME_JOB = f"{JOB}, job_id"
"""Labels that the machines of a job share."""

CORES = f"instance_job_id:neuroncores:avg{WINDOW}"
UTILIZATION = f"instance_job_id:neuroncore_utilization:avg{WINDOW}"
EXECUTIONS = f"instance_job_id:neuroncore_executions_completed:rate{WINDOW}"
MEDIAN_UTILIZATION = f"job_id:neuroncore_utilization:median_avg{WINDOW}"
MEDIAN_EXECUTIONS = f"job_id:neuroncore_executions_completed:median_rate{WINDOW}"

_ON_MACHINE = f"{MACHINE}, {BATCH_JOB}"
_IN_JOB = 'job_id!~"|none"'
"""Processes of jobs. `none` is what torchrun calls every job without an id of its own."""


def _sum(metric: str) -> str:
    """Return the sum over a job's workloads on a machine, averaged over the window."""
    return f"sum by ({_ON_MACHINE}) (avg_over_time({metric}{{{_IN_JOB}}}[{WINDOW}]))"


def _median(metric: str) -> str:
    return f"quantile by ({SAME_JOB}) (0.5, {metric})"


RULES = (
    Recording(
        record=CORES,
        expr=_sum("workload:neuroncores:count"),
        rationale="Cores that a job uses on each of its machines. It ends with the job, unlike the "
        "job's counters, which stay for ten minutes.",
    ),
    Recording(
        record=UTILIZATION,
        expr=f"{_sum('workload:neuroncore_utilization:sum')}\n  / {CORES}",
        rationale="Average of the job's cores on each machine; other cores do not count.",
    ),
    Recording(
        record=EXECUTIONS,
        expr=(
            f"sum by ({_ON_MACHINE}) (workload:neuron_executions_by_status:rate{WINDOW}"
            f'{{{_IN_JOB}, status_type="completed"}})\n  / {CORES}'
        ),
        rationale="Per core, because a job may have more processes on one machine than on another.",
    ),
    Recording(
        record=MEDIAN_UTILIZATION,
        expr=_median(UTILIZATION),
        rationale="What is usual in the job. One machine, however slow, does not move it.",
    ),
    Recording(
        record=MEDIAN_EXECUTIONS,
        expr=_median(EXECUTIONS),
        rationale="The same for completed executions.",
    ),
)
