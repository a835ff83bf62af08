"""Recorded problems: what is wrong with each machine, and since when.

The Fleet dashboard reads them. They appear before the alerts on the same conditions, which wait.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana.rules_src.devices import BAD_DEVICES, FAULTS, SEVERE
from grafana.rules_src.expressions import (
    CRASH_LOOP,
    device_missing,
    device_unhealthy,
    gap,
    indent,
    sink_failing,
    suspicious,
)
from grafana.rules_src.model import Recording
from grafana.rules_src.parameters import JOB, JOB_MEMORY, JOBS, TARGET, WINDOW
from neuron_exporter.facts.problems import (
    CORRECTED_ECC_PER_HOUR,
    DEVICE_MEMORY_RATIO,
    ERROR_RATIO,
    MIN_FAILURES,
    PROBLEMS,
    SINK_FAILING_SECONDS,
    STALLED_SECONDS,
)
from neuron_exporter.facts.report_names import FAILED_STATUSES

SHORT_WINDOW = f"{SINK_FAILING_SECONDS // 60}m"
"""Window of the readings that problems look at: two scrapes at an interval of a minute, so that a
missed scrape neither ends a problem nor is one."""

RANK = "instance:neuron_problem:rank"
SINCE = "instance:neuron_problem:since"
MACHINES = "instance:neuron_machine:info"
ECC_INCREASES = "device:hardware_ecc_events:increase1h"

_MACHINE_FIELDS = "node, instance_id, instance_type, instance_name, availability_zone"
_UP = f'up{{job=~"{JOBS}"}}'
_FAILED = "|".join(FAILED_STATUSES)

CONDITIONS: Mapping[str, str] = {
    "device_missing": device_missing(SHORT_WINDOW),
    "uncorrected_ecc": (
        f'{ECC_INCREASES}{{event_type=~".*_uncorrected"}}\n'
        f"or last_over_time({BAD_DEVICES}[{SHORT_WINDOW}])"
    ),
    "device_unhealthy": device_unhealthy(SHORT_WINDOW),
    "hardware_faults": f"{FAULTS}{{{SEVERE}}}",
    "hung": suspicious(SHORT_WINDOW),
    "exporter_down": f"{_UP} == 0 and avg_over_time({_UP}[{SHORT_WINDOW}]) < 0.5",
    "source_down": (
        f"max_over_time(neuron_exporter_up[{SHORT_WINDOW}]) == 0\n"
        f"unless on ({TARGET})\n"
        f'  max_over_time(neuron_exporter_source_state{{state="paused"}}[{SHORT_WINDOW}]) == 1'
    ),
    "crash_loop": CRASH_LOOP,
    "failing": (
        f"instance:neuron_executions_failed:ratio_rate{WINDOW} > {ERROR_RATIO}\n"
        f"and on ({TARGET}) sum by ({TARGET})\n"
        f'  (increase(neuron_executions_total{{status_type=~"{_FAILED}"}}[{WINDOW}]))'
        f" >= {MIN_FAILURES}"
    ),
    "memory_full": (
        f"avg_over_time(neurondevice_memory_utilization_ratio[{SHORT_WINDOW}])"
        f" > {DEVICE_MEMORY_RATIO}"
    ),
    "corrected_ecc": (
        f"sum by ({TARGET}, neuron_device_index)\n"
        f'  ({ECC_INCREASES}{{event_type=~".*_corrected"}}) > {CORRECTED_ECC_PER_HOUR}'
    ),
    "sink_failing": sink_failing(SHORT_WINDOW),
    "stalled": (
        f'{gap(SHORT_WINDOW)} >= {STALLED_SECONDS}\nunless on ({TARGET}) {RANK}{{reason="hung"}}'
    ),
}
"""When a target has a problem, by reason. Only the labels of the target matter."""


def _rank(reason: str, rank: int) -> Recording:
    return Recording(
        record=RANK,
        labels={"reason": reason},
        expr=f"{rank} * {MACHINES} and on ({TARGET}) (\n  {indent(CONDITIONS[reason])}\n)",
        rationale="The highest rank of a machine is its worst problem.",
    )


_MACHINE_INFO = Recording(
    record=MACHINES,
    expr=(
        "(\n"
        f"  group by ({TARGET}, {_MACHINE_FIELDS}) (instance_info)\n"
        f"  or ({MACHINES} unless on ({TARGET}) instance_info) and on ({TARGET}) {_UP}\n"
        f"  or on ({TARGET}) group by ({TARGET}) ({_UP})\n"
        ")\n"
        f"and on ({JOB}) last_over_time(job:neuron_exporter_build_info:group{WINDOW}[{JOB_MEMORY}])"
    ),
    rationale="The machine of each target of the exporters, also while the exporter is down or has "
    "no reports: the labels that it had last. A target that has never reported has none.",
)

_SINCE = Recording(
    record=SINCE,
    expr=(
        f"0 * {RANK} + on ({TARGET}, reason) group_left ()\n"
        f"  max by ({TARGET}, reason) ({SINCE} or on ({TARGET}, reason) 0 * {RANK} + time())"
    ),
    rationale="Unix time at which a problem began: its previous value while the problem lasts.",
)

_ECC_INCREASES = Recording(
    record=ECC_INCREASES,
    expr="increase(hardware_ecc_events_total[1h]) > 0",
    rationale="An hour of every device's counters is read once; only devices with errors have it.",
)

RULES = (
    _MACHINE_INFO,
    _ECC_INCREASES,
    *(_rank(problem.reason, problem.rank) for problem in PROBLEMS),
    _SINCE,
)
