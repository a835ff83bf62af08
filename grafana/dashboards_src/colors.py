"""Colors by value and by name. Grafana adapts named colors to its light and dark theme."""

from __future__ import annotations

from typing import NamedTuple

from neuron_exporter.facts.problems import HANG_CRITICAL_SECONDS, HANG_WARNING_SECONDS


class Step(NamedTuple):
    """Color of values from `value` on, or below all other steps if it is None."""

    value: float | None
    color: str


UNKNOWN = Step(None, "text")
"""First step of every scale: a panel without a value is neither green nor red."""

BLUE = (UNKNOWN, Step(0, "blue"))
RED_FROM_1 = (UNKNOWN, Step(0, "green"), Step(1, "red"))
ORANGE_FROM_1 = (UNKNOWN, Step(0, "green"), Step(1, "orange"))
NEARLY_FULL = (UNKNOWN, Step(0, "green"), Step(0.85, "orange"), Step(0.95, "red"))
NEARLY_FULL_PERCENT = (UNKNOWN, Step(0, "green"), Step(85, "orange"), Step(95, "red"))

UTILIZATION = (
    Step(None, "gray"),
    Step(0.05, "super-light-blue"),
    Step(0.25, "light-blue"),
    Step(0.5, "semi-dark-blue"),
    Step(0.75, "dark-blue"),
)
"""Bands of a utilization. Idle is gray, which differs from a gap on a light and on a dark page."""

NO_EXECUTION, HUNG = 2, 3
"""Stand for the utilization of cores that are busy without results."""

HANGS = {NO_EXECUTION: ("no execution ends", "yellow"), HUNG: ("hung", "red")}

NO_EXECUTION_SECONDS = (
    UNKNOWN,
    Step(HANG_WARNING_SECONDS, "dark-yellow"),
    Step(HANG_CRITICAL_SECONDS, "red"),
)
"""Times without an execution ending that may be a hang, and that are one.

Both are the shortest. The limits of a runtime with long executions are higher.
"""

SOURCE = {1: ("reports", "green"), 0: ("no reports", "red")}
"""Whether a source reports."""

STATUSES = {
    "completed": "green",
    "completed_with_num_err": "yellow",
    "incorrect_input": "light-orange",
    "completed_with_err": "orange",
    "timed_out": "red",
    "failed_to_queue": "dark-red",
}
"""Final statuses of executions."""

ERROR_TYPES = {
    "numerical": "yellow",
    "transient": "light-orange",
    "model": "orange",
    "generic": "light-red",
    "runtime": "red",
    "hardware": "dark-red",
}
"""Types of execution errors."""

HARDWARE_ERRORS = {
    "hw_repairable_hbm_ue_error": "yellow",
    "hw_collectives_error": "orange",
    "hw_error": "light-red",
    "hw_dma_abort_error": "semi-dark-red",
    "hw_nc_ue_error": "red",
    "hw_hbm_ue_error": "dark-red",
}
"""Types of errors that the driver blames on the hardware."""

STATES = {
    "ok": "green",
    "starting": "blue",
    "paused": "purple",
    "garbage": "yellow",
    "stalled": "orange",
    "exited": "red",
    "no_driver": "dark-orange",
    "missing_program": "dark-red",
}
"""States of a source, and reasons of its restarts."""

OUTCOMES = {"delivered": "green", "retried": "orange", "rejected": "red"}
"""Outcomes of a sink's requests."""
