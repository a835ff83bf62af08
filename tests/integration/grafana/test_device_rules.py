"""Rules on missing devices, and on devices that had uncorrected errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promtool import alerts_fired, alerts_firing, annotations, check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

MACHINE = 'instance_id="i-1",instance_type="trn1.32xlarge"'
EXPECTED = f"neuron_devices_expected{{{MACHINE}}}"
PRESENT = f"neuron_devices_present{{{MACHINE}}}"
BOOT = "neuron_exporter_host_boot_timestamp_seconds"
ECC = (
    'hardware_ecc_events_total{event_type="mem_ecc_uncorrected",neuron_device_index="3",'
    f"{MACHINE}}}"
)
DAY = 24 * 3600.0


def devices(present: int, **more: float) -> Frame:
    """Return a machine with 16 expected devices."""
    return {EXPECTED: 16.0, PRESENT: float(present), "neuron_exporter_up": 1.0, **more}


def test_missing_device(tmp_path: Path) -> None:
    """The alert fires within seven minutes, and not for a device that is reset."""
    lost: Frames = [*[devices(16)] * 20, *[devices(15)] * 60]
    reset: Frames = [*[devices(16)] * 20, *[devices(15)] * 12, *[devices(16)] * 48]
    check(
        tmp_path,
        {"lost:9415": lost, "reset:9415": reset},
        alerts_fired(20 * STEP + 300),
        alerts_firing(20 * STEP + 420, "NeuronDeviceMissing"),
        alerts_firing(80 * STEP - STEP, "NeuronDeviceMissing"),
    )
    (found,) = annotations(tmp_path, {"lost:9415": lost}, "NeuronDeviceMissing", 1190)
    assert found["summary"] == "i-1 (lost:9415) has only 15 Neuron devices."


def test_task_with_some_of_the_devices_misses_none(tmp_path: Path) -> None:
    """An exporter in an ECS task sees the devices of its task only."""
    core = f'neuroncore_utilization_ratio{{neuroncore="0",task_family="train",{MACHINE}}}'
    sidecar: Frame = {**devices(4), core: 0.5}
    check(tmp_path, {"sidecar:9415": [sidecar] * 80}, alerts_fired(79 * STEP))


def machine(boot: float, errors: float) -> Frame:
    """Return a machine with a device."""
    return {ECC: errors, BOOT: boot, "neuron_exporter_up": 1.0}


# promtool's clock starts at 0: the machine has been up for a day.
BEFORE, BAD = machine(-DAY, 0.0), machine(-DAY, 2.0)
RESTARTED = machine(-DAY, 0.0)
"""The same machine after a restart of the exporter, which forgets its counters."""

HOUR = 3600 // STEP


def test_device_is_suspect_until_the_machine_reboots(tmp_path: Path) -> None:
    """An hour after the error, and after a restart of the exporter, the device is still bad."""
    rebooted = machine(5.0 * 3600, 0.0)
    frames: Frames = [
        *[BEFORE] * 40,
        *[BAD] * (2 * HOUR),
        *[None] * 4,
        *[RESTARTED] * (3 * HOUR - 44),
        *[None] * 20,
        *[rebooted] * (2 * HOUR),
    ]
    check(
        tmp_path,
        {"bad:9415": frames},
        alerts_fired(40 * STEP),
        alerts_firing(40 * STEP + 180, "NeuronDeviceSuspect", "NeuronUncorrectedEcc"),
        alerts_firing(40 * STEP + 4000, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 - 60, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 + 20 * STEP + 90),
        alerts_firing(len(frames) * STEP - STEP),
    )
    (found,) = annotations(tmp_path, {"bad:9415": frames}, "NeuronDeviceSuspect", 3 * 3600)
    assert found["summary"] == "Neuron device 3 of i-1 (bad:9415) had uncorrected memory errors."


def test_device_stays_suspect_if_the_exporter_returns_elsewhere(tmp_path: Path) -> None:
    """The next pod of a node has another address, until the node reboots with a third pod."""
    end = 7 * HOUR
    pods: dict[str, Frames] = {
        "a:9415": [*[BEFORE] * 40, *[BAD] * 40, *[{}] * (end - 80)],
        "b:9415": [*[{}] * 84, *[RESTARTED] * (4 * HOUR - 84), *[{}] * (3 * HOUR)],
        "c:9415": [*[{}] * (4 * HOUR + 20), *[machine(4.0 * 3600, 0.0)] * (3 * HOUR - 20)],
    }
    check(
        tmp_path,
        pods,
        alerts_firing(2 * 3600, "NeuronDeviceSuspect"),
        alerts_firing(4 * 3600 - 60, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 + 60),
        alerts_firing(end * STEP - STEP),
    )
    (found,) = annotations(tmp_path, pods, "NeuronDeviceSuspect", 2 * 3600)
    assert "(b:9415)" in found["summary"]


def test_device_of_a_replaced_machine_is_not_suspect(tmp_path: Path) -> None:
    """Another machine at the same address has other labels."""
    other: Frame = {
        name.replace('"i-1"', '"i-2"'): value for name, value in machine(-60.0, 0.0).items()
    }
    frames: Frames = [*[BEFORE] * 40, *[BAD] * 40, *[other] * (2 * HOUR)]
    check(
        tmp_path,
        {"a:9415": frames},
        alerts_firing(79 * STEP, "NeuronDeviceSuspect", "NeuronUncorrectedEcc"),
        alerts_firing(len(frames) * STEP - STEP),
    )


def test_errors_soon_after_the_boot_count(tmp_path: Path) -> None:
    frames: Frames = [*[machine(0.0, 0.0)] * 8, *[machine(0.0, 1.0)] * (3 * HOUR)]
    check(
        tmp_path,
        {"new:9415": frames},
        alerts_firing(2 * 3600, "NeuronDeviceSuspect"),
    )
