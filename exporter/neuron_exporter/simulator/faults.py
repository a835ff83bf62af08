"""The faults that can be asked for: one row for each, with what it does and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from neuron_exporter.simulator import process_faults as mishaps
from neuron_exporter.simulator import report_faults as damage
from neuron_exporter.simulator.context import Now, Output
from neuron_exporter.simulator.process_faults import Periods
from neuron_exporter.simulator.processes import Process, Work

T = TypeVar("T")


class When(Enum):
    """When a fault happens that was asked for without a number; and what a number makes of it."""

    FIRST = "at the first report"
    ONCE = "at some report from the fifth to the fifteenth"
    OFTEN = "at every fifth report or so"
    ON = "from the first report on"

    @property
    def numbered(self) -> str:
        """When it happens with the number N."""
        return "from report N on" if self is When.ON else "at report N"


def _same(value: T, *_: object) -> T:
    return value


def _nothing(*_: object) -> None:
    """A report is left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row. What a fault does not change passes as it is."""

    name: str
    when: When
    help: str
    periods: Callable[[Periods, Periods, Now], Periods] = _same
    """Changes what the groups of a report cover; gets what they should cover as well."""
    processes: Callable[[list[Process], Now], list[Process]] = _same
    work: Callable[[Work, Process, Now], Work] = _same
    report: Callable[[dict[str, Any], Now], None] = _nothing
    output: Callable[[Output, Now], Output] = _same


# Several at one report are applied in this order: what tears a report comes after what fills it.
_ROWS = (
    Fault(
        name="crash",
        when=When.ONCE,
        help="ends with status 1 instead of a report",
        output=damage.crash,
    ),
    Fault(
        name="stall",
        when=When.ONCE,
        help="says nothing from a report on, and does not end",
        output=damage.stall,
    ),
    Fault(
        name="garbage",
        when=When.OFTEN,
        help="before a report, lines that are none: text, half a report, other JSON, bytes",
        output=damage.add_garbage,
    ),
    Fault(
        name="half-line",
        when=When.OFTEN,
        help="a report ends in its middle",
        output=damage.cut_in_half,
    ),
    Fault(
        name="huge-line",
        when=When.OFTEN,
        help="a line of 17 MiB before a report",
        output=damage.add_huge_line,
    ),
    Fault(
        name="stderr-flood",
        when=When.OFTEN,
        help="2000 lines on standard error before a report",
        output=damage.flood_stderr,
    ),
    Fault(
        name="short-first-period",
        when=When.FIRST,
        help="the first report, which always covers milliseconds only, covers no time at all",
        periods=mishaps.no_period,
    ),
    Fault(
        name="whole-first-period",
        when=When.FIRST,
        help="the first report covers a whole period, as neuron-monitor's never does",
        periods=mishaps.whole_period,
    ),
    Fault(
        name="same-tags",
        when=When.ON,
        help="every runtime has the tag 1, as in containers",
        processes=mishaps.same_tags,
    ),
    Fault(
        name="churn",
        when=When.ON,
        help="runtimes end after 8 to 12 reports, and come back as other processes",
        processes=mishaps.churn,
    ),
    Fault(
        name="hang",
        when=When.ON,
        help="the cores of all runtimes are busy, and nothing completes",
        work=mishaps.hang,
    ),
    Fault(
        name="latency-spikes",
        when=When.OFTEN,
        help="the slowest executions take 20 to 120 times as long",
        work=mishaps.spike_latency,
    ),
    Fault(
        name="execution-errors",
        when=When.ON,
        help="executions fail in every way, with errors of every kind",
        work=mishaps.fail_executions,
    ),
    Fault(
        name="memory-filling",
        when=When.ON,
        help="runtimes take device memory until it is full, five minutes later",
        work=mishaps.fill_memory,
    ),
    Fault(
        name="ecc-level",
        when=When.ON,
        help="memory errors of the devices, each reading with all so far "
        "(in neuron_hw_counters: needs -c)",
        report=damage.put_ecc_levels,
    ),
    Fault(
        name="ecc-tally",
        when=When.ON,
        help="the same errors, each reading with those of its period",
        report=damage.put_ecc_tallies,
    ),
    Fault(
        name="error-groups",
        when=When.ON,
        help="groups carry an error beside zeros: the CPU shares of runtimes always, others at "
        "times",
        report=damage.put_errors,
    ),
    Fault(
        name="nan",
        when=When.OFTEN,
        help="readings are NaN, Infinity or -Infinity, which are no JSON",
        report=damage.put_no_numbers,
    ),
    Fault(
        name="nulls",
        when=When.ON,
        help="sections, groups and readings are null, others in each report",
        report=damage.put_nulls,
    ),
)

FAULTS = {row.name: row for row in _ROWS}
