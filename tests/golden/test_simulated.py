"""What every simulated machine looks like, in both layouts, in one line for each metric.

A machine's whole exposition is up to a megabyte; its summary is read in a minute: how many series,
their labels' names, the smallest, largest and summed value.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Layout, Machine, Owners, Series, Timestamp
from neuron_exporter.report import decode
from neuron_exporter.simulator import machine as simulated
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.conftest import Golden

REPORTS = 4


def summary(instance_type: str, scenario: str, layout: Layout) -> str:
    """A line for each metric that is shown after some reports."""
    source = simulated.Machine(parse(["--instance-type", instance_type, "--scenario", scenario]))
    rows = [row for row in CATALOGUE if not row.layouts or layout in row.layouts]
    collector = Collector(rows, Counters(), ReportPeriod(5.0))
    identity = Identity(Machine(), {})
    for number in range(REPORTS):
        report = decode(json.dumps(source.report(number)).encode()).report
        moment = Timestamp(1_700_000_000 + 5 * number, 100 + 5 * number)
        machine = identity.observe(report.instance_info)
        snapshot = collector.collect(report, moment, machine, Owners()).snapshot
    selection, _ = select_for_prometheus("full", ["*"], [], layout)
    shown: dict[str, list[tuple[Series, float]]] = defaultdict(list)
    for series, value in zip(snapshot.shape, snapshot.values, strict=True):
        if value is not None and series.spec in selection.rows:
            assert isinstance(value, int | float)
            shown[series.spec.name].append((series, value))
    return "".join(
        f"{name}{{{','.join(labels)}}} {len(found)}: "
        f"{min(values):.6g} to {max(values):.6g}, {sum(values):.6g} in all\n"
        for name, found in shown.items()
        for values in [[value for _, value in found]]
        for labels in [dict.fromkeys(label for series, _ in found for label, _ in series.labels)]
    )


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_simulated_machines(instance_type: str, layout: Layout, golden: Golden) -> None:
    """What each machine shows in each scenario does not change unnoticed."""
    text = "\n".join(
        f"# {scenario}\n{summary(instance_type, scenario, layout)}" for scenario in SCENARIOS
    )
    golden.check(f"simulated/{instance_type}.{layout}.txt", text)
