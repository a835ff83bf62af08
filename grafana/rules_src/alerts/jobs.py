"""Alert on machines that fall behind the others of their job."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import MACHINE_NAME, PERCENT
from grafana.rules_src.jobs import (
    CORES,
    EXECUTIONS,
    MEDIAN_EXECUTIONS,
    MEDIAN_UTILIZATION,
    SAME_JOB,
    UTILIZATION,
)
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import (
    STRAGGLER_EXECUTIONS,
    STRAGGLER_MACHINES,
    STRAGGLER_RATIO,
    STRAGGLER_UTILIZATION,
    TARGET,
)

_JOB_ON_MACHINE = f"{TARGET}, job_id"
_SECONDS = 300
"""The window of the recorded rates."""


def _below(signal: str, machine: str, median: str) -> str:
    """Return machines far below the median of their job: their share of it, by signal."""
    share = f"{machine} / on ({SAME_JOB}) group_left () {median}"
    return f'label_replace({share} < {STRAGGLER_RATIO}, "signal", "{signal}", "", "")'


_COMPARABLE = (
    f"{CORES} * on ({SAME_JOB}) group_left () {MEDIAN_EXECUTIONS} * {_SECONDS}"
    f" >= {STRAGGLER_EXECUTIONS}"
)

STRAGGLER = Alert(
    name="NeuronStraggler",
    expr=(
        "(\n"
        f"  {_below('utilization', UTILIZATION, MEDIAN_UTILIZATION)}\n"
        f"  or {_below('executions', EXECUTIONS, MEDIAN_EXECUTIONS)}\n"
        f"    and on ({_JOB_ON_MACHINE}) {_COMPARABLE}\n"
        ")\n"
        f"and on ({SAME_JOB}) {MEDIAN_UTILIZATION} > {STRAGGLER_UTILIZATION}\n"
        f"and on ({SAME_JOB}) count by ({SAME_JOB}) ({UTILIZATION}) >= {STRAGGLER_MACHINES}\n"
        f"and on ({_JOB_ON_MACHINE}) {UTILIZATION} offset 10m"
    ),
    for_="10m",
    severity="warning",
    summary=f"{MACHINE_NAME} falls behind in job {{{{ $labels.job_id }}}}"
    "{{ with $labels.job_name }} ({{ . }}){{ end }} by {{ $labels.signal }}.",
    description=f"For ten minutes, the {{{{ $labels.signal }}}} of {MACHINE_NAME} has been less "
    f"than half of the median of the machines of job {{{{ $labels.job_id }}}}: it is {PERCENT} of "
    "it. The other machines may wait for this one. First look at its CPU, memory, disk and "
    "network, and at the log of its processes.",
    rationale="Machines that wait for each other complete equally many executions, and their cores "
    "are busy while they wait inside one; those of the machine that keeps the others waiting are "
    "idle. Machines that do not wait differ in executions. A machine that joins late has ten "
    "minutes to load and compile.",
)
