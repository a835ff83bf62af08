"""Task definitions that share a machine."""

from __future__ import annotations

import pytest

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.simulator.hardware import hardware
from tests.support.task_definitions import exporter_of, make_definition

WHOLE = [name for name, row in INSTANCE_TYPES.items() if row.devices and row.memory_gib]


@pytest.mark.parametrize("instance_type", WHOLE)
def test_tasks_for_all_devices_and_a_daemon_fit(instance_type: str) -> None:
    """With half a GiB for the agent, in CPUs and in memory."""
    row, machine = INSTANCE_TYPES[instance_type], hardware(instance_type)
    assert row.devices is not None
    daemon = exporter_of(make_definition(instance_type, "none", "daemon"))
    tasks = [
        container
        for index in range(row.devices)
        for container in make_definition(instance_type, "compile", "sidecar", str(index))[
            "containerDefinitions"
        ]
    ]
    memory = sum(each["memory"] for each in [*tasks, daemon])
    cpu = sum(each["cpu"] for each in [*tasks, daemon])
    assert memory + 512 <= machine.memory / 2**20 * 0.925
    assert cpu <= machine.vcpus * 1024
    assert memory >= 0.75 * machine.memory / 2**20, (
        "most of the memory must be left to the workloads"
    )
