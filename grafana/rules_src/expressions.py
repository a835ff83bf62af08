"""Expressions that the recorded problems and the alerts share, so that they agree.

`window` is a Prometheus duration: problems look at a shorter one than alerts.
"""

from __future__ import annotations

from grafana.rules_src.parameters import MACHINE, TARGET
from neuron_exporter.facts.problems import (
    CRASH_LOOP_RESTARTS,
    CRASH_LOOP_SECONDS,
    HANG_UNKNOWN_SECONDS,
    HANG_WARNING_FACTOR,
    HANG_WARNING_SECONDS,
    HARMLESS_RESTARTS,
)

_HISTORY = "1h"
"""Window in which the gaps and the history of an exporter count that has restarted since."""

CRASHES = (
    "increase(neuron_exporter_source_restarts_total"
    f'{{reason!~"{"|".join(HARMLESS_RESTARTS)}"}}[{CRASH_LOOP_SECONDS // 60}m])'
)
CRASH_LOOP = f"sum by ({TARGET}) ({CRASHES}) >= {CRASH_LOOP_RESTARTS}"

LONGEST_GAP = f"max_over_time(neuron_execution_gap_max_seconds[{_HISTORY}])"
MAX_GAP = f"max_over_time(neuron_execution_gap_seconds[{_HISTORY}])"


def indent(text: str) -> str:
    """Return the text with its lines indented as part of a longer expression, except the first."""
    return text.replace("\n", "\n  ")


def device_missing(window: str) -> str:
    """Return an expression for machines with fewer devices than expected: the number present."""
    return (
        f"max_over_time(neuron_devices_present[{window}])\n"
        f"  < last_over_time(neuron_devices_expected[{window}])\n"
        f"unless on ({TARGET})\n"
        f'  last_over_time(neuroncore_utilization_ratio{{task_family!=""}}[{window}])'
    )


def device_unhealthy(window: str) -> str:
    """Return an expression for components of devices that the driver reports as unhealthy."""
    return (
        f"max by ({MACHINE}, neuron_device_index, component)\n"
        f"  (max_over_time(neurondevice_health[{window}])) == 0"
    )


def sink_failing(window: str) -> str:
    """Return an expression for sinks that have failed throughout a window.

    A sink that waits for its first window is down too, but has no error.
    """
    return (
        f"max_over_time(neuron_exporter_sink_up[{window}]) == 0\n"
        f"and on ({TARGET}, sink) (\n"
        f"  last_over_time(neuron_exporter_sink_last_success_timestamp_seconds[{window}]) > 0\n"
        f"  or last_over_time(neuron_exporter_sink_errors_total[{window}] offset {window}) > 0\n"
        ")"
    )


def gap(window: str, matchers: str = "") -> str:
    """Return an expression for the current gap of each runtime in seconds."""
    return f"last_over_time(neuron_execution_gap_seconds{matchers}[{window}])"


def over(gap: str, factor: int, seconds: int) -> str:
    """Return an expression for gaps of at least a multiple of the longest one, and of `seconds`.

    A gap without history is over the limit from `HANG_UNKNOWN_SECONDS` on.
    """
    return (
        f"{gap} >= clamp_min({factor} * {LONGEST_GAP}, {seconds})\n"
        f"or ({gap} unless {LONGEST_GAP}) >= {HANG_UNKNOWN_SECONDS}"
    )


def since_start(gaps: str, window: str) -> str:
    """Return an expression for those gaps that are as old as their exporter.

    The time between its first and latest report is the gap of a runtime that has not ended an
    execution since, apart from the reports' jitter.
    """
    return (
        f"{gaps} >= on ({TARGET}) group_left () 0.9 * max by ({TARGET}) (\n"
        f"  (last_over_time(neuron_exporter_reports_total[{window}]) - 1)\n"
        f"  * last_over_time(neuron_exporter_report_period_seconds[{window}])\n"
        ")"
    )


def suspicious(window: str) -> str:
    """Return an expression for gaps that may be a hang.

    A runtime without a history of its own may be in a long first execution, and the history of its
    tag may be that of a process that has ended. Its gap has to last `HANG_UNKNOWN_SECONDS`, unless
    it is as old as the exporter.
    """
    current = gap(window)
    return (
        f"{current} >= clamp_min({HANG_WARNING_FACTOR} * {LONGEST_GAP}, {HANG_WARNING_SECONDS})\n"
        "and (\n"
        f"  last_over_time(neuron_execution_gap_max_seconds[{window}])\n"
        f"  or {indent(since_start(current, window))}\n"
        ")\n"
        f"or {over(current, HANG_WARNING_FACTOR, HANG_UNKNOWN_SECONDS)}"
    )
