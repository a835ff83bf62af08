"""Names in the maps of neuron-monitor's reports that AWS documents or that recordings contain.

Sources: Neuron Monitor User Guide 1.16 to 2.32 (awsdocs-neuron), and recorded reports of 2021 to
2026. A later SDK may add names.
"""

from __future__ import annotations

STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
"""Statuses of executions, in `execution_summary`."""

FAILED_STATUSES = STATUSES[1:]
"""Statuses of executions that failed."""

ERROR_TYPES = ("numerical", "transient", "model", "runtime", "hardware")
"""Types of errors in `error_summary`, except `generic`."""

GENERIC = "generic"
"""Error type that neuron-monitor of 2022 reports as a level that rises by itself."""

ECC_EVENTS = (
    "mem_ecc_corrected",
    "mem_ecc_uncorrected",
    "sram_ecc_corrected",
    "sram_ecc_uncorrected",
)
"""Names of a device's ECC readings in neuron-monitor's report."""

KNOWN_NAMES = {
    "execution_summary": frozenset(STATUSES),
    "error_summary": frozenset({GENERIC, *ERROR_TYPES}),
    "latency_stats": frozenset({"p0", "p1", "p25", "p50", "p75", "p90", "p99", "p100"}),
}
"""Known names in the maps of `execution_stats`."""
