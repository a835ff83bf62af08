"""The points of simulated reports equal their Prometheus samples."""

from __future__ import annotations

import pytest

from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.otlp_samples import assert_equal
from tests.support.simulated import snapshots


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "inf2.24xlarge", "trn1.32xlarge"])
def test_simulated_reports(instance_type: str, scenario: str) -> None:
    for snapshot in snapshots(instance_type, scenario):
        assert_equal(snapshot)
