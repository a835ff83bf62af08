"""What can be wrong with a machine, and from which value on.

The alert rules, the recorded problems, the dashboards and the page read this one table, so that
they agree on the worst problem of a machine, its name and its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

Severity = Literal["critical", "warning", "info"]
"""`critical` pages the on-call engineer, `warning` is for working hours, `info` needs no action."""

STALLED_SECONDS = 30
"""Seconds for which cores must be busy without an execution ending before this is shown."""

HANG_UTILIZATION = 0.5
"""Utilization above which a core counts as busy although no execution ends."""

HANG_WARNING_SECONDS, HANG_WARNING_FACTOR = 300, 3
"""Shortest gap between ends of executions that may be a hang, and the multiple of the longest gap
in the runtime's history."""

HANG_CRITICAL_SECONDS, HANG_CRITICAL_FACTOR = 900, 5
"""The same for a gap that is a hang."""

HANG_UNKNOWN_SECONDS = 900
"""Gap that is a hang for a runtime without history: its first execution may compile for minutes."""

HANG_HISTORY_SECONDS = 6 * 3600
"""Age up to which a gap belongs to the history."""

CRASH_LOOP_RESTARTS, CRASH_LOOP_SECONDS = 3, 900
"""Restarts of neuron-monitor within this time that make a crash loop."""


class RestartReason(StrEnum):
    """Reason of a restart of the source, a label value of
    `neuron_exporter_source_restarts_total`."""

    MISSING_PROGRAM = "missing_program"
    SPAWN_ERROR = "spawn_error"
    EXITED = "exited"
    END_OF_FILE = "end_of_file"
    STALLED = "stalled"
    GARBAGE = "garbage"
    RECONFIGURED = "reconfigured"


HARMLESS_RESTARTS = (RestartReason.MISSING_PROGRAM, RestartReason.RECONFIGURED)
"""Reasons of restarts that no failing process caused."""

MIN_SOURCE_UPTIME = 0.5
"""Share of a window in which a source must report. A source that is restarted repeatedly reports
now and then."""

ERROR_RATIO = 0.01
"""Share of executions that end in a status other than `completed`."""

MIN_FAILURES = 10
"""Failed executions in five minutes below which their share means nothing."""

DEVICE_MEMORY_RATIO = 0.95
"""Share of a device's memory."""

CORRECTED_ECC_PER_HOUR = 60
"""Corrected errors per device and hour: one per minute."""

HARDWARE_FAULTS = "hw_"
"""Prefix of the driver's names for errors of a core that the hardware causes; others, such as
`execute_failed_to_queue`, are errors of executions (driver 2.24.7, neuron_sysfs_metrics.c)."""

MINOR_FAULTS = ("hw_collectives_error", "hw_repairable_hbm_ue_error")
"""Those that do not show a broken device: another machine may have ended a collective operation,
and the driver repairs the memory when the device is reset."""

SINK_FAILING_SECONDS = 120
"""Seconds for which a sink fails before this is a problem: a single failed request, which the sink
retries, is none."""


class HangLimits(NamedTuple):
    """Seconds of busy cores without an execution ending until a warning, and until a hang."""

    warning: float
    critical: float


def hang_limits(longest_gap: float | None) -> HangLimits:
    """Return the limits for a runtime by its longest gap between executions, None if unknown."""
    if longest_gap is None:
        return HangLimits(HANG_UNKNOWN_SECONDS, HANG_UNKNOWN_SECONDS)
    return HangLimits(
        max(HANG_WARNING_SECONDS, HANG_WARNING_FACTOR * longest_gap),
        max(HANG_CRITICAL_SECONDS, HANG_CRITICAL_FACTOR * longest_gap),
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a machine. `reason` is a label value; the highest `rank` is the worst."""

    reason: str
    rank: int
    severity: Severity
    text: str


PROBLEMS = (
    Problem("device_missing", 100, "critical", "device missing: fewer than the instance type has"),
    Problem("uncorrected_ecc", 95, "critical", "memory errors: results may be wrong"),
    Problem("device_unhealthy", 93, "critical", "device unhealthy: the driver reports it"),
    Problem("hardware_faults", 92, "critical", "hardware faults: executions on a core fail"),
    Problem("hung", 90, "critical", "hung: cores are busy, but no execution ends"),
    Problem("exporter_down", 80, "warning", "exporter down: it does not answer"),
    Problem("source_down", 75, "warning", "no reports: neuron-monitor does not report"),
    Problem("crash_loop", 70, "warning", "crash loop: neuron-monitor ends repeatedly"),
    Problem("failing", 60, "warning", "failing: too many executions end in an error"),
    Problem("memory_full", 50, "warning", "memory full: no room for another model"),
    Problem("corrected_ecc", 40, "warning", "many corrected memory errors"),
    Problem("sink_failing", 30, "warning", "not published: a sink does not deliver"),
    Problem("stalled", 10, "info", "no execution ends; not yet judged"),
)  # fmt: skip
"""All problems, the worst first."""

BY_REASON = {problem.reason: problem for problem in PROBLEMS}
"""The problems by reason."""
