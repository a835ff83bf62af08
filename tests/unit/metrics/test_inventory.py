"""Devices and cores that exist, by the lists and counts of reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neuron_exporter.model import Machine
from tests import captures
from tests.support.reports import Harness, Samples, cores, group, memory, report, runtime

UTILIZATION = "neuroncore_utilization_ratio"
TENSORS = "neuroncore_memory_usage_tensors"
CONTAINER = captures.FOLDER / "neuron-ls_trn2.48xlarge_2026-10_container_one_device.json"
TRN1 = Machine(instance_type="trn1.32xlarge")
ALL_BUT_7 = [*range(7), *range(8, 16)]


def hardware(devices: int, per_device: int = 2, **more: Any) -> dict[str, Any]:
    """Return `neuron_hardware_info` with these counts."""
    counts = {"neuron_device_count": devices, "neuroncore_per_device_count": per_device}
    return {**counts, "error": "", **more}


def listing(*devices: int | None) -> dict[str, Any]:
    """Return `system_data` that lists these devices; None is an entry without an index."""
    ecc = {"mem_ecc_corrected": 0, "mem_ecc_uncorrected": 0}
    listed = [
        {**({} if each is None else {"neuron_device_index": each}), **ecc} for each in devices
    ]
    return {"neuron_hw_counters": group(neuron_devices=listed)}


def busy(*numbers: int, percent: float = 100, also: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return a runtime that is busy on these cores and lists others at 0."""
    listed = {f"_{n}": percent for n in numbers} | {f"_{n}": 0 for n in also}
    return runtime(neuroncore_counters=cores(**listed), memory_used=memory({}))


def shown(samples: Samples, name: str = UTILIZATION) -> dict[int, float]:
    """Return the values of a metric by core."""
    return {int(core): value for (core, *_), value in samples.values(name).items()}


def mean(samples: Samples) -> float:
    """Return the average utilization of the cores that are shown."""
    values = shown(samples).values()
    return sum(values) / len(values)


def test_container_with_the_last_devices() -> None:
    harness = Harness()
    sections = {"neuron_hardware_info": hardware(4), "system_data": listing(4, 5, 6, 7)}
    samples = harness.samples(report(busy(*range(8, 16)), **sections))
    assert shown(samples) == dict.fromkeys(range(8, 16), 1.0)
    assert mean(samples) == 1
    idle = harness.samples(report(**sections))
    assert shown(idle) == shown(idle, TENSORS) == dict.fromkeys(range(8, 16), 0)
    assert {device for (device,) in idle.values("neurondevice_memory_used_bytes")} == set("4567")


@pytest.mark.skipif(not CONTAINER.exists(), reason=captures.MISSING)
def test_recorded_container_with_one_device_of_sixteen() -> None:
    """It numbers the device and its logical cores as the host does."""
    (device,) = json.loads(CONTAINER.read_text())
    index, own = device["neuron_device"], set(device["neuroncore_ids"])
    sections = {
        "neuron_hardware_info": hardware(1, device["nc_count"], logical_neuroncore_config=2),
        "system_data": listing(index),
    }
    machine = Machine(instance_type=device["instance_type"])
    for runtimes in ([busy(*own)], []):
        samples = Harness().samples(report(*runtimes, **sections), machine=machine)
        assert shown(samples).keys() == own
        assert samples.value("neuron_devices_present") == 1
        assert samples.value("neuron_devices_expected") == 16


def test_single_device_of_a_container() -> None:
    sections = {"neuron_hardware_info": hardware(1), "system_data": listing(3)}
    assert mean(Harness().samples(report(busy(6, 7, percent=75), **sections))) == 0.75


@pytest.mark.parametrize("count", [15, 16])
@pytest.mark.parametrize("listed", [(), (*range(14), *range(16, 32)), tuple(range(32))])
def test_missing_device_in_the_middle(count: int, listed: tuple[int, ...]) -> None:
    """Its cores are absent, even if a runtime lists them at 0."""
    runtimes = [busy(0, also=listed[1:])] if listed else []
    sections = {"neuron_hardware_info": hardware(count), "system_data": listing(*ALL_BUT_7)}
    samples = Harness().samples(report(*runtimes, **sections), machine=TRN1)
    present = {*range(14), *range(16, 32)}
    assert shown(samples).keys() == shown(samples, TENSORS).keys() == present
    assert samples.value("neuron_devices_expected") == 16
    assert samples.value("neuron_devices_present") == 15


def test_device_that_is_lost_while_a_runtime_uses_it() -> None:
    """Its cores are shown as long as the runtime reports them as busy, and never at 0."""
    harness = Harness()
    runtimes = [busy(14, 15, also=(0, 1))]
    sections = {"neuron_hardware_info": hardware(16)}
    harness.collect(report(*runtimes, system_data=listing(*range(16)), **sections))
    lost = {**sections, "system_data": listing(*ALL_BUT_7)}
    assert shown(harness.samples(report(*runtimes, **lost)))[14] == 1
    assert not {14, 15} & shown(harness.samples(report(**lost))).keys()


BROKEN_LISTS = [
    {},
    {"neuron_hw_counters": None},
    {"neuron_hw_counters": group("busy", neuron_devices=[])},
    {"neuron_hw_counters": group(neuron_devices=[])},
    listing(4, None),
]


@pytest.mark.parametrize("broken", BROKEN_LISTS)
def test_list_that_a_report_lacks(broken: dict[str, Any]) -> None:
    """The last list stays, so that no series comes and goes."""
    harness = Harness()
    harness.collect(report(system_data=listing(4, 5), neuron_hardware_info=hardware(2)))
    for info in (hardware(2), None):
        samples = harness.samples(report(system_data=broken, neuron_hardware_info=info))
        assert shown(samples).keys() == {8, 9, 10, 11}
        assert samples.value("neuron_devices_present") == 2


def test_incomplete_first_list_is_no_evidence() -> None:
    sections = {"neuron_hardware_info": hardware(2), "system_data": listing(0, None)}
    assert shown(Harness().samples(report(**sections))).keys() == {0, 1, 2, 3}


def test_wrong_device_number_adds_no_cores() -> None:
    """No machine has 4,000 devices; thousands of cores would be counted for a broken list."""
    sections = {"neuron_hardware_info": hardware(2), "system_data": listing(0, 4000)}
    assert shown(Harness().samples(report(**sections))).keys() == {0, 1, 2, 3}


def test_count_without_a_list() -> None:
    samples = Harness().samples(report(neuron_hardware_info=hardware(2)))
    assert shown(samples).keys() == {0, 1, 2, 3}
    assert samples.value("neuron_devices_present") == 2
    assert samples.value("neuron_devices_expected") is None


def test_cores_of_runtimes_contradict_the_count() -> None:
    """The cores of an exited runtime stay: an idle container has the same cores as a busy one."""
    harness = Harness()
    sections = {"neuron_hardware_info": hardware(4)}
    runtimes = [busy(*range(8, 12), also=tuple(range(12, 16)))]
    samples = harness.samples(report(*runtimes, **sections))
    assert mean(samples) == 0.5
    assert shown(harness.samples(report(**sections))) == dict.fromkeys(range(8, 16), 0)
    assert samples.value("neuron_devices_present") == 4


def test_cores_of_exited_runtimes_end_with_another_count() -> None:
    harness = Harness()
    harness.collect(report(busy(*range(8, 16)), neuron_hardware_info=hardware(4)))
    samples = harness.samples(report(neuron_hardware_info=hardware(2)))
    assert shown(samples).keys() == {0, 1, 2, 3}


def test_runtimes_that_number_cores_unlike_the_list() -> None:
    """The cores of the runtimes are shown, and no idle ones beside them."""
    sections = {"neuron_hardware_info": hardware(4), "system_data": listing(4, 5, 6, 7)}
    samples = Harness().samples(report(busy(*range(4), also=tuple(range(4, 8))), **sections))
    assert shown(samples).keys() == set(range(8))
    assert mean(samples) == 0.5


DEAD = [
    {"neuron_hardware_info": hardware(0)},
    {"neuron_hardware_info": hardware(2, error="no driver")},
    {"neuron_hardware_info": None, "system_data": {"neuron_hw_counters": group()}},
]


@pytest.mark.parametrize("dead", DEAD)
def test_driver_that_does_not_answer(dead: dict[str, Any]) -> None:
    """No core is idle, and no device is present."""
    harness = Harness()
    alive = {"neuron_hardware_info": hardware(16), "system_data": listing(*range(16))}
    harness.collect(report(**alive), machine=TRN1)
    samples = harness.samples(report(**dead), machine=TRN1)
    assert shown(samples) == {}
    assert samples.value("neuron_devices_present") == 0
    assert samples.value("neuron_devices_expected") == 16
    recovered = {"neuron_hardware_info": hardware(15), "system_data": listing(*ALL_BUT_7)}
    assert len(shown(harness.samples(report(**recovered)))) == 30


@pytest.mark.parametrize("dead", DEAD)
def test_driver_that_has_never_answered(dead: dict[str, Any]) -> None:
    """The number of devices is unknown: the machine has lost none. An average over several machines
    has either both numbers of each or none."""
    harness = Harness()
    samples = harness.samples(report(**dead), machine=TRN1)
    assert samples.value("neuron_devices_present") is None
    assert samples.value("neuron_devices_expected") is None
    harness.collect(report(neuron_hardware_info=hardware(16)), machine=TRN1)
    assert harness.samples(report(**dead), machine=TRN1).value("neuron_devices_present") == 0


@pytest.mark.parametrize(
    ("own", "present", "expected"), [(4, 4, 4), (4, 3, 4), (None, 4, 16), (4, 16, 16)]
)
def test_expected_devices_of_a_container(own: int | None, present: int, expected: int) -> None:
    """A container with four of sixteen devices misses none of the others."""
    harness = Harness(container_devices=lambda: own)
    sections = {"neuron_hardware_info": hardware(present), "system_data": listing(*range(present))}
    samples = harness.samples(report(**sections), machine=TRN1)
    assert samples.value("neuron_devices_present") == present
    assert samples.value("neuron_devices_expected") == expected


def test_physical_cores_of_a_lost_device() -> None:
    def logical(core: int, percent: float) -> dict[str, Any]:
        part = {"neuroncore_utilization": percent}
        return {**part, "v3d": {f"nc_v3.{2 * core}": part, f"nc_v3.{2 * core + 1}": part}}

    harness = Harness()
    info = hardware(2, 4, logical_neuroncore_config=2)
    used = group(neuroncores_in_use={str(core): logical(core, 50) for core in range(8)})
    both = report(runtime(neuroncore_counters=used), neuron_hardware_info=info)
    assert (
        len(
            harness.samples({**both, "system_data": listing(0, 1)}).values(
                "neuroncore_physical_utilization_ratio"
            )
        )
        == 16
    )
    idle = group(neuroncores_in_use={str(core): logical(core, 0) for core in range(8)})
    one = report(
        runtime(neuroncore_counters=idle), neuron_hardware_info=info, system_data=listing(0)
    )
    left = harness.samples(one).values("neuroncore_physical_utilization_ratio")
    assert {core for core, _ in left} == {"0", "1", "2", "3"}
