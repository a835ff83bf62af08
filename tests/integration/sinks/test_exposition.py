"""Both formats have the same content, whatever the machine does."""

from __future__ import annotations

import pytest

from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.exposition_formats import assert_equal, both
from tests.support.simulated import snapshots


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "trn1.32xlarge", "trn2.48xlarge"])
def test_simulated_reports_are_equal_in_both_formats(instance_type: str, scenario: str) -> None:
    assert_equal(*both(snapshots(instance_type, scenario)[-1]))
