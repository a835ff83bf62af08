"""Simulated reports and their parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Layout, Owners, Series, Snapshot, Timestamp
from neuron_exporter.model import Machine as Fields
from neuron_exporter.report import decode
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.reports import Harness

Report = dict[str, Any]

HERE = Fields(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
SMALL = ("--instance-type", "inf2.xlarge")


def reports(count: int, *flags: str) -> list[Report]:
    """Return the first reports of a run."""
    machine = Machine(parse(list(flags)))
    return [machine.report(number) for number in range(count)]


def snapshots(instance_type: str, scenario: str) -> list[Snapshot]:
    """Return the snapshots of the first reports of a scenario."""
    harness = Harness()
    flags = ("--instance-type", instance_type, "--scenario", scenario)
    return [harness.collect(each, machine=HERE).snapshot for each in reports(3, *flags)]


def exposed(
    layout: Layout, preset: str, include: list[str], *flags: str, count: int = 4
) -> Iterator[tuple[Series, float]]:
    """Yield the series of a simulated machine after some reports, with their values."""
    rows = [row for row in CATALOGUE if not row.layouts or layout in row.layouts]
    collector = Collector(rows, Counters(), ReportPeriod(5.0))
    identity = Identity(Fields(), {})
    for number, source in enumerate(reports(count, *flags)):
        report = decode(json.dumps(source).encode()).report
        moment = Timestamp(1_700_000_000 + 5 * number, 100 + 5 * number)
        machine = identity.observe(report.instance_info)
        snapshot = collector.collect(report, moment, machine, Owners()).snapshot
    selection, _ = select_for_prometheus(preset, include, [], layout)
    for series, value in zip(snapshot.shape, snapshot.values, strict=True):
        if value is not None and series.spec in selection.rows:
            assert isinstance(value, int | float)
            yield series, value


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
