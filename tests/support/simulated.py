"""Simulated reports and their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse

Report = dict[str, Any]

SMALL = ("--instance-type", "inf2.xlarge")


def reports(count: int, *flags: str) -> list[Report]:
    """Return the first reports of a run."""
    machine = Machine(parse(list(flags)))
    return [machine.report(number) for number in range(count)]


def groups(report: Report) -> Iterator[tuple[str, Report]]:
    """Yield each group of a report with its name."""
    for runtime in report["neuron_runtime_data"]:
        yield from runtime["report"].items()
    yield from report["system_data"].items()


def runtimes(many: list[Report]) -> Iterator[tuple[int, Report]]:
    """Yield each runtime with the number of its report."""
    for number, report in enumerate(many):
        for runtime in report["neuron_runtime_data"]:
            yield number, runtime


def busy(report: Report) -> dict[int, float]:
    """Return the utilization in percent by core, summed over runtimes."""
    found: dict[int, float] = {}
    for runtime in report["neuron_runtime_data"]:
        listed = runtime["report"]["neuroncore_counters"]["neuroncores_in_use"]
        for core, counters in listed.items():
            share = counters["neuroncore_utilization"]
            found[int(core)] = found.get(int(core), 0) + share
    return found


def memory(report: Report) -> dict[int, int]:
    """Return the device memory in bytes by core, summed over runtimes."""
    found: dict[int, int] = {}
    for runtime in report["neuron_runtime_data"]:
        used = runtime["report"]["memory_used"]["neuron_runtime_used_bytes"]["usage_breakdown"]
        for core, parts in used["neuroncore_memory_usage"].items():
            found[int(core)] = found.get(int(core), 0) + sum(parts.values())
    return found


def executions(report: Report) -> list[Report]:
    """Return `execution_stats` of each runtime."""
    return [each["report"]["execution_stats"] for each in report["neuron_runtime_data"]]


def completed(report: Report) -> int:
    """Return the number of completed executions of all runtimes."""
    return sum(int(each["execution_summary"]["completed"]) for each in executions(report))
