"""What every simulated machine looks like, in both layouts, in one line for each metric.

A machine's whole exposition is up to a megabyte; its summary is read in a minute: how many series,
their labels' names, the smallest, largest and summed value.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from neuron_exporter.model import Layout, Series
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.conftest import Golden
from tests.support.simulated import exposed


def summary(instance_type: str, scenario: str, layout: Layout) -> str:
    """A line for each metric that is shown after some reports."""
    flags = ("--instance-type", instance_type, "--scenario", scenario)
    shown: dict[str, list[tuple[Series, float]]] = defaultdict(list)
    for series, value in exposed(layout, "full", ["*"], *flags):
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
