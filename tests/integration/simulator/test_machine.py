"""Simulated reports of every instance type."""

from __future__ import annotations

import json

import pytest

from neuron_exporter.report import decode
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests.support.simulated import reports


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_reports_are_valid(instance_type: str, scenario: str) -> None:
    """Every report matches the schema in every field."""
    for report in reports(11, "--instance-type", instance_type, "--scenario", scenario):
        assert decode(json.dumps(report).encode()).invalid_fields == ()
