"""The table of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from neuron_exporter.simulator import driver_faults, process_faults, report_faults
from neuron_exporter.simulator.context import FaultContext, Output
from neuron_exporter.simulator.driver import Driver
from neuron_exporter.simulator.process_faults import Periods
from neuron_exporter.simulator.processes import Process, Work

T = TypeVar("T")


class Timing(Enum):
    """When a fault occurs that is requested without a number."""

    FIRST = "at the first report"
    ONCE = "at some report from the fifth to the fifteenth"
    REPEATED = "about every fifth report"
    LASTING = "from the first report on"

    @property
    def numbered(self) -> str:
        """When the fault occurs if it is requested with a number N."""
        return "from report N on" if self is Timing.LASTING else "at report N"


def _unchanged(value: T, *_: object) -> T:
    return value


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: a fault and the functions by which it changes a run."""

    name: str
    help: str
    timing: Timing
    periods: Callable[[Periods, Periods, FaultContext], Periods] = _unchanged
    """Called with the seconds that each group covers, and with those that it should cover."""
    processes: Callable[[list[Process], FaultContext], list[Process]] = _unchanged
    work: Callable[[Work, Process, FaultContext], Work] = _unchanged
    report: Callable[[dict[str, Any], FaultContext], object] = _unchanged
    """Changes the report in place."""
    driver: Callable[[Driver, FaultContext], object] = _unchanged
    """Changes the driver's files, in place too."""
    output: Callable[[Output, FaultContext], Output] = _unchanged


_first = partial(Fault, timing=Timing.FIRST)
_once = partial(Fault, timing=Timing.ONCE)
_repeated = partial(Fault, timing=Timing.REPEATED)
_lasting = partial(Fault, timing=Timing.LASTING)

# Faults of one report are applied in this order: those that cut it come after those that fill it.
_ROWS = (
    _once("crash", "exits with status 1 in place of a report", output=report_faults.crash),
    _once("stall", "stops writing reports and does not exit", output=report_faults.stall),
    _repeated(
        "garbage",
        "writes invalid lines before a report: text, half a report, other JSON, bytes",
        output=report_faults.add_garbage,
    ),
    _repeated("half-line", "cuts a report off in the middle", output=report_faults.cut_in_half),
    _repeated(
        "huge-line", "writes a line of 17 MiB before a report", output=report_faults.add_huge_line
    ),
    _repeated(
        "stderr-flood",
        "writes 2000 lines to standard error before a report",
        output=report_faults.flood_stderr,
    ),
    _first(
        "short-first-period",
        "the first report, which always covers milliseconds only, covers no time at all",
        periods=process_faults.no_period,
    ),
    _first(
        "whole-first-period",
        "the first report covers a whole period, which neuron-monitor's never does",
        periods=process_faults.whole_period,
    ),
    _lasting(
        "same-tags",
        "every runtime has the tag 1, as in containers",
        processes=process_faults.same_tags,
    ),
    _lasting(
        "churn",
        "runtimes exit after 8 to 12 reports and return as new processes",
        processes=process_faults.churn,
    ),
    _lasting(
        "runtime-exit",
        "the first runtime exits and does not return; its pod keeps its cores",
        processes=process_faults.exit_first,
    ),
    _lasting(
        "hang",
        "the cores of all runtimes are busy and no execution completes",
        work=process_faults.hang,
    ),
    _repeated(
        "latency-spikes",
        "the slowest executions take 20 to 120 times as long",
        work=process_faults.spike_latency,
    ),
    _lasting(
        "execution-errors",
        "executions fail in every way, with errors of every type",
        work=process_faults.fail_executions,
    ),
    _lasting(
        "memory-filling",
        "runtimes allocate device memory until it is full, after five minutes",
        work=process_faults.fill_memory,
    ),
    _lasting(
        "lost-device",
        "one of several devices is missing with its cores; runtimes that had no others exit",
        report=report_faults.lose_device,
        driver=driver_faults.lose_files,
    ),
    _lasting(
        "ecc-level",
        "devices have memory errors; each reading is the total so far "
        "(in neuron_hw_counters: needs -c)",
        report=report_faults.insert_ecc_totals,
        driver=driver_faults.count_memory_errors,
    ),
    _lasting(
        "ecc-tally",
        "the same errors; each reading is the count of its period",
        report=report_faults.insert_ecc_counts,
        driver=driver_faults.count_memory_errors,
    ),
    _lasting(
        "hardware-errors",
        "cores that are in use have hardware errors of every kind (in the driver's files: needs "
        "--sysfs)",
        driver=driver_faults.add_hardware_errors,
    ),
    _repeated(
        "device-reset",
        "a device is reset, at times in vain; its files are gone for one report (needs --sysfs)",
        driver=driver_faults.reset_device,
    ),
    _repeated(
        "driver-reload",
        "all files of the driver are gone for one report, and its counters start at 0 (needs "
        "--sysfs)",
        driver=driver_faults.reload_driver,
    ),
    _lasting(
        "unhealthy-device",
        "two components of the first device are unhealthy (needs --sysfs and trn2)",
        driver=driver_faults.fail_components,
    ),
    _lasting(
        "error-groups",
        "groups carry an error and zeros: the CPU shares of runtimes always, others at times",
        report=report_faults.insert_errors,
    ),
    _repeated(
        "nan",
        "readings are NaN, Infinity or -Infinity, which is not valid JSON",
        report=report_faults.insert_nan,
    ),
    _lasting(
        "nulls",
        "sections, groups and readings are null, different ones in each report",
        report=report_faults.insert_nulls,
    ),
)

FAULTS = {row.name: row for row in _ROWS}
