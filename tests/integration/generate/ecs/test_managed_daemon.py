"""The definitions for ECS Managed Daemons of all instance types."""

from __future__ import annotations

import pytest

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from tests.support.task_definitions import make_definition, problems_of

TYPES = [
    name for name, row in INSTANCE_TYPES.items() if row.devices and row.accelerator != "inferentia"
]


@pytest.mark.parametrize("instance_type", TYPES)
def test_the_api_takes_the_definition_of_each_type(instance_type: str) -> None:
    assert problems_of(make_definition(instance_type, "none", "managed-daemon")) == ""
