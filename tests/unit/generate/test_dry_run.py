"""The driver's files that a dry run assumes: those that the simulator writes for the machine."""

from __future__ import annotations

import pytest

from neuron_exporter.facts.driver_files import UNHEALTHY
from neuron_exporter.generate.offline_pipeline import assumed_readings
from neuron_exporter.simulator.driver import Driver
from neuron_exporter.simulator.hardware import SIMULATED_TYPES, hardware
from neuron_exporter.simulator.sysfs import ARCHITECTURES


@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_assumed_readings_are_those_of_the_type(instance_type: str) -> None:
    machine = hardware(instance_type)
    devices = assumed_readings(instance_type).devices
    if machine.accelerator not in ARCHITECTURES:
        assert machine.generation.old_tools
        assert not devices
        return
    driver = Driver(machine, seed=0)
    driver.begin(0.0, ())
    driver.end()
    files = driver.files()
    assert devices.keys() == files.keys()
    for number, device in devices.items():
        assert len(device.core_errors) == int(files[number]["core_count"])
        assert bool(device.health) == any(path.endswith(f"/{UNHEALTHY}") for path in files[number])


def test_only_trn2_has_health() -> None:
    having = {t for t in SIMULATED_TYPES for d in assumed_readings(t).devices.values() if d.health}
    assert having
    assert {each.partition(".")[0].rstrip("u") for each in having} == {"trn2"}
