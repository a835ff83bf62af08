"""Recorded problems: what is wrong with each machine, and since when.

The Fleet dashboard reads them. They appear before the alerts on the same conditions, which wait.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana.rules_src.devices import BAD_DEVICES
from grafana.rules_src.model import Recording
from grafana.rules_src.parameters import (
    DELIBERATE_RESTARTS,
    JOB,
    JOB_MEMORY,
    JOBS,
    TARGET,
    WINDOW,
)
from neuron_exporter.facts.problems import (
    CORRECTED_ECC_PER_HOUR,
    CRASH_LOOP_RESTARTS,
    CRASH_LOOP_SECONDS,
    DEVICE_MEMORY_RATIO,
    ERROR_RATIO,
    HANG_UNKNOWN_SECONDS,
    HANG_WARNING_FACTOR,
    HANG_WARNING_SECONDS,
    MIN_FAILURES,
    PROBLEMS,
    STALLED_SECONDS,
)
from neuron_exporter.facts.report_names import FAILED_STATUSES

SHORT_WINDOW = "2m"
"""Window of the readings that problems look at: two scrapes at an interval of a minute, so that a
missed scrape neither ends a problem nor is one."""

RANK = "instance:neuron_problem:rank"
SINCE = "instance:neuron_problem:since"
MACHINES = "instance:neuron_machine:info"
ECC_INCREASES = "device:hardware_ecc_events:increase1h"

_MACHINE_FIELDS = "node, instance_id, instance_type, instance_name, availability_zone"
_UP = f'up{{job=~"{JOBS}"}}'
_FAILED = "|".join(FAILED_STATUSES)
_GAP = f"last_over_time(neuron_execution_gap_seconds[{SHORT_WINDOW}])"
_LONGEST_GAP = "max_over_time(neuron_execution_gap_max_seconds[1h])"

CONDITIONS: Mapping[str, str] = {
    "device_missing": (
        f"max_over_time(neuron_devices_present[{SHORT_WINDOW}])\n"
        f"  < last_over_time(neuron_devices_expected[{SHORT_WINDOW}])\n"
        f"unless on ({TARGET})\n"
        f'  last_over_time(neuroncore_utilization_ratio{{task_family!=""}}[{SHORT_WINDOW}])'
    ),
    "uncorrected_ecc": (
        f'{ECC_INCREASES}{{event_type=~".*_uncorrected"}}\n'
        f"or last_over_time({BAD_DEVICES}[{SHORT_WINDOW}])"
    ),
    "hung": (
        f"{_GAP} >= clamp_min({HANG_WARNING_FACTOR} * {_LONGEST_GAP}, {HANG_WARNING_SECONDS})\n"
        f"or ({_GAP} unless {_LONGEST_GAP}) >= {HANG_UNKNOWN_SECONDS}"
    ),
    "exporter_down": f"{_UP} == 0 and avg_over_time({_UP}[{SHORT_WINDOW}]) < 0.5",
    "source_down": (
        f"max_over_time(neuron_exporter_up[{SHORT_WINDOW}]) == 0\n"
        f"unless on ({TARGET})\n"
        f'  max_over_time(neuron_exporter_source_state{{state="paused"}}[{SHORT_WINDOW}]) == 1'
    ),
    "crash_loop": (
        "increase(neuron_exporter_source_restarts_total"
        f'{{reason!~"{DELIBERATE_RESTARTS}"}}[{CRASH_LOOP_SECONDS // 60}m])'
        f" >= {CRASH_LOOP_RESTARTS}"
    ),
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
    "sink_failing": (
        f"max_over_time(neuron_exporter_sink_up[{WINDOW}]) == 0\n"
        f"  and last_over_time(neuron_exporter_sink_up[{SHORT_WINDOW}] offset {WINDOW})\n"
        f"or max_over_time(neuron_exporter_sink_up[{SHORT_WINDOW}]) == 0\n"
        f"  and on ({TARGET}, sink)\n"
        f"    last_over_time(neuron_exporter_sink_errors_total[{SHORT_WINDOW}]) > 0"
    ),
    "stalled": (f'{_GAP} >= {STALLED_SECONDS}\nunless on ({TARGET}) {RANK}{{reason="hung"}}'),
}
"""When a target has a problem, by reason. Only the labels of the target matter."""


def _rank(reason: str, rank: int) -> Recording:
    return Recording(
        record=RANK,
        labels={"reason": reason},
        expr=f"{rank} * {MACHINES} and on ({TARGET}) (\n  {_indent(CONDITIONS[reason])}\n)",
        rationale="The highest rank of a machine is its worst problem.",
    )


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


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
