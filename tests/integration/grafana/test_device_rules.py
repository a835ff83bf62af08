"""Rules on missing devices, on uncorrected errors, and on what the driver says about devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.facts.driver_files import HARDWARE_ERRORS
from neuron_exporter.facts.problems import BY_REASON, MINOR_FAULTS
from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import (
    Target,
    alerts_fired,
    alerts_firing,
    annotations,
    check,
    identifies,
)
from tests.support.rule_frames import STEP, Frame, Frames, with_failed_scrapes

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
    check_with_alarms(
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
    check_with_alarms(tmp_path, {"sidecar:9415": [sidecar] * 80}, alerts_fired(79 * STEP))


def machine(boot: float, errors: float) -> Frame:
    """Return a machine with a device."""
    return {ECC: errors, BOOT: boot, "neuron_exporter_up": 1.0}


# promtool's clock starts at 0: the machine has been up for a day.
BEFORE, BAD = machine(-DAY, 0.0), machine(-DAY, 2.0)
RESTARTED = machine(-DAY, 0.0)
"""The same machine after a restart of the exporter, which forgets its counters."""

HOUR = 3600 // STEP
MINUTE = 60
"""Interval of frames in seconds where hours pass, so that an hour has 60."""


def test_device_is_suspect_until_the_machine_reboots(tmp_path: Path) -> None:
    """An hour after the error, and after a restart of the exporter, the device is still bad."""
    rebooted = machine(5.0 * 3600, 0.0)
    frames: Frames = [
        *[BEFORE] * 40,
        *[BAD] * (2 * 60),
        *[None] * 4,
        *[RESTARTED] * (3 * 60 - 44),
        *[None] * 20,
        *[rebooted] * (2 * 60),
    ]
    check(
        tmp_path,
        {"bad:9415": frames},
        alerts_fired(40 * MINUTE),
        alerts_firing(40 * MINUTE + 180, "NeuronDeviceSuspect", "NeuronUncorrectedEcc"),
        alerts_firing(40 * MINUTE + 4000, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 - 60, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 + 20 * MINUTE + 90),
        alerts_firing(len(frames) * MINUTE - MINUTE),
        step=MINUTE,
    )
    (found,) = annotations(tmp_path, {"bad:9415": frames}, "NeuronDeviceSuspect", 3 * 3600, MINUTE)
    assert found["summary"] == "Neuron device 3 of i-1 (bad:9415) had uncorrected memory errors."


def test_device_stays_suspect_if_the_exporter_returns_elsewhere(tmp_path: Path) -> None:
    """The next pod of a node has another address, until the node reboots with a third pod."""
    end = 7 * 60
    pods: dict[str, Frames] = {
        "a:9415": [*[BEFORE] * 10, *[BAD] * 10, *[{}] * (end - 20)],
        "b:9415": [*[{}] * 21, *[RESTARTED] * (4 * 60 - 21), *[{}] * (3 * 60)],
        "c:9415": [*[{}] * (4 * 60 + 5), *[machine(4.0 * 3600, 0.0)] * (3 * 60 - 5)],
    }
    check(
        tmp_path,
        pods,
        alerts_firing(2 * 3600, "NeuronDeviceSuspect"),
        alerts_firing(4 * 3600 - 60, "NeuronDeviceSuspect"),
        alerts_firing(5 * 3600 + 60),
        alerts_firing(end * MINUTE - MINUTE),
        step=MINUTE,
    )
    (found,) = annotations(tmp_path, pods, "NeuronDeviceSuspect", 2 * 3600, MINUTE)
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
    check_with_alarms(
        tmp_path,
        {"new:9415": frames},
        alerts_firing(2 * 3600, "NeuronDeviceSuspect"),
    )


# The driver's files


def errors(kind: str, count: float) -> Frame:
    """Return a machine with the driver's counters of two cores; the second has errors."""
    counter = "neuroncore_hardware_errors_total"
    return {
        "neuron_exporter_up": 1.0,
        'neuron_exporter_build_info{version="1"}': 1.0,
        f"instance_info{{{MACHINE}}}": 1.0,
        **{
            f'{counter}{{neuroncore="{core}",error_type="{name}",{MACHINE}}}': (
                count if (core, name) == (1, kind) else 0.0
            )
            for core in range(2)
            for name in HARDWARE_ERRORS
        },
    }


@pytest.mark.parametrize("kind", HARDWARE_ERRORS)
def test_hardware_fault(tmp_path: Path, kind: str) -> None:
    """One error is enough, failed scrapes do not hide it, and it is over after an hour."""
    alert = "NeuronMinorHardwareFaults" if kind in MINOR_FAULTS else "NeuronHardwareFaults"
    frames = [*[errors(kind, 0.0)] * 40, *[errors(kind, 1.0)] * (2 * HOUR)]
    machines = {
        "bad:9415": with_failed_scrapes(frames, 40, 41, 90, 150),
        "well:9415": [errors(kind, 0.0)] * len(frames),
    }
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(40 * STEP),
        alerts_firing(40 * STEP + 240, alert),
        alerts_firing(40 * STEP + 3500, alert),
        alerts_firing(40 * STEP + 3900),
        alerts_fired(len(frames) * STEP - STEP, alert),
    )
    (found,) = annotations(tmp_path, machines, alert, 40 * STEP + 1800)
    assert found["summary"] == f"Hardware fault {kind} on core 1 of i-1 (bad:9415)."
    assert " 1 errors " in found["description"]


def test_errors_of_executions_are_no_hardware_fault(tmp_path: Path) -> None:
    """A later exporter may count more kinds of a core's errors."""
    name = f'neuroncore_hardware_errors_total{{neuroncore="0",error_type="timeout",{MACHINE}}}'
    frames: Frames = [{"neuron_exporter_up": 1.0, name: float(number)} for number in range(HOUR)]
    check_with_alarms(tmp_path, {"a:9415": frames}, alerts_fired(3600 - STEP))


def health(value: float, *owner: str) -> Frame:
    """Return a machine with the health of two components of a device, which has an owner."""
    labels = ",".join(['neuron_device_index="3"', MACHINE, *owner])
    return {
        **errors("", 0.0),
        f'neurondevice_health{{component="hbm",{labels}}}': value,
        f'neurondevice_health{{component="sram",{labels}}}': 1.0,
    }


def test_unhealthy_device(tmp_path: Path) -> None:
    """The alert ends with the fault, and neither with the owner nor by a failed scrape."""
    pods = ['pod="a"'], ['pod="b"']
    frames = [
        *[health(1.0, *pods[0])] * 40,
        *[health(0.0, *pods[0])] * 80,
        *[health(0.0, *pods[1])] * 80,
        *[health(1.0)] * 40,
    ]
    machines = {
        "bad:9415": with_failed_scrapes(frames, 60, 61, 119, 180),
        # The files of older drivers do not say whether devices are healthy.
        "silent:9415": [errors("", 0.0)] * len(frames),
    }
    alert = "NeuronDeviceUnhealthy"
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(40 * STEP + 300),
        *(alerts_firing(at * STEP, alert) for at in (70, 118, 125, 150, 199)),
        alerts_firing(205 * STEP),
        alerts_fired(len(frames) * STEP - STEP, alert),
    )
    found = annotations(tmp_path, machines, alert, 150 * STEP)
    assert len(found) == 1
    assert identifies(found, "hbm of device 3 of i-1 (bad:9415)")


def test_failing_resets(tmp_path: Path) -> None:
    """Resets that succeed are part of the usual work."""
    resets = "neurondevice_resets_total"

    def frame(requested: float, failed: float) -> Frame:
        device = f'neuron_device_index="3",{MACHINE}'
        return {
            "neuron_exporter_up": 1.0,
            f'{resets}{{result="requested",{device}}}': requested,
            f'{resets}{{result="failed",{device}}}': failed,
        }

    frames = [*[frame(1.0, 0.0)] * 40, *[frame(2.0, 1.0)] * (2 * HOUR)]
    machines = {
        "bad:9415": with_failed_scrapes(frames, 40, 100),
        "well:9415": [frame(float(number), 0.0) for number in range(len(frames))],
    }
    alert = "NeuronResetFailing"
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(40 * STEP),
        alerts_firing(40 * STEP + 240, alert),
        alerts_firing(40 * STEP + 3900),
    )
    found = annotations(tmp_path, machines, alert, 40 * STEP + 1800)
    assert identifies(found, "device 3 of i-1 (bad:9415)")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (errors("hw_nc_ue_error", 1.0), "hardware_faults"),
        (errors("hw_collectives_error", 1.0), ""),
        (health(0.0), "device_unhealthy"),
    ],
)
def test_fault_is_a_problem_of_the_machine(tmp_path: Path, bad: Frame, reason: str) -> None:
    """It is recorded before the alert fires; a minor fault is none."""
    well = {name: 1.0 if "health" in name else min(value, 0.0) for name, value in bad.items()}
    before: Frame = {**well, **errors("", 0.0)}
    frames: Frames = [*[before] * 40, *[bad] * 40]
    target = Target("bad:9415")
    labels = f'{{job="neuron",reason="{reason}",{MACHINE},instance="{target.instance}"}}'
    check(
        tmp_path,
        {target: frames},
        {
            "expr": "instance:neuron_problem:rank",
            "eval_time": f"{79 * STEP}s",
            "exp_samples": [
                {
                    "labels": f"instance:neuron_problem:rank{labels}",
                    "value": BY_REASON[reason].rank,
                }
            ]
            if reason
            else [],
        },
        {
            "expr": "instance:neuron_problem:rank",
            "eval_time": f"{40 * STEP - 1}s",
            "exp_samples": [],
        },
    )
