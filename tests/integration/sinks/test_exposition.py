"""Both formats have the same content, whatever the machine does."""

from __future__ import annotations

import pytest

from neuron_exporter.model import Machine
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.exposition_formats import assert_equal, both
from tests.support.reports import Harness

HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "trn1.32xlarge", "trn2.48xlarge"])
def test_simulated_reports_are_equal_in_both_formats(instance_type: str, scenario: str) -> None:
    machine = SimulatedMachine(parse(["--instance-type", instance_type, "--scenario", scenario]))
    harness = Harness()
    for number in range(3):
        snapshot = harness.collect(machine.report(number), machine=HERE).snapshot
    assert_equal(*both(snapshot))
