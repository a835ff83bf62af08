"""The driver's files beside the reports: which devices and cores they belong to, and counters."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import pytest

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.model import Machine, Owner, Owners, Timestamp
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings
from tests.support.reports import HARDWARE, Samples, decode_document, report, report_of_devices

ERRORS = "neuroncore_hardware_errors_total"
POWER = "neurondevice_power_utilization_ratio"
RESETS = "neurondevice_resets_total"
ECC = "hardware_ecc_events_total"
REPAIRABLE = "mem_ecc_repairable_uncorrected"


class Machinery:
    """Collector of one machine or task, whose reports come every 5 s."""

    def __init__(self, own: Set[int] = frozenset(), *, is_task: bool = False) -> None:
        scope = TaskScope(lambda: own) if is_task else None
        self._collector = Collector(
            CATALOGUE, Counters(), ReportPeriod(5.0), scope=scope, present_devices=lambda: own
        )
        self._now = 0.0

    def samples(
        self,
        document: Any,
        devices: Mapping[int, DeviceReadings] | None,
        owners: Owners | None = None,
    ) -> Samples:
        """Return the samples of a report with the readings of these devices."""
        self._now += 5
        at = Timestamp(1_700_000_000 + self._now, self._now)
        hardware = NO_READINGS if devices is None else HardwareReadings(devices)
        return Samples(
            self._collector.collect(
                decode_document(document), at, Machine(), owners or Owners(), hardware
            ).snapshot
        )


def powered(*devices: int) -> dict[int, DeviceReadings]:
    """Return readings of these devices, each with another power."""
    return {device: DeviceReadings(power={"avg": device / 100}) for device in devices}


def failed(errors: Mapping[int, int], kind: str = "hw_hbm_ue_error") -> DeviceReadings:
    """Return the readings of a device with these totals of errors by folder."""
    return DeviceReadings(core_errors={core: {kind: total} for core, total in errors.items()})


def test_every_value_of_a_device() -> None:
    readings = DeviceReadings(
        power={"min": 0.1, "max": 0.3, "avg": 0.2},
        serial_number="9ff5",
        health={"device": 1.0, "hbm": 0.0},
        ecc_repairable=3,
        resets={"requested": 5, "failed": 1},
        core_errors={0: {"hw_error": 2}, 1: {"hw_error": 0}},
    )
    samples = Machinery().samples(report_of_devices(2, 0, 1), {1: readings})
    assert samples.values(POWER) == {("1", "min"): 0.1, ("1", "max"): 0.3, ("1", "avg"): 0.2}
    assert samples.values("neurondevice_info") == {("1", "9ff5"): 1.0}
    assert samples.values("neurondevice_health") == {("1", "device"): 1.0, ("1", "hbm"): 0.0}
    assert samples.values(RESETS) == {("1", "requested"): 5.0, ("1", "failed"): 1.0}
    assert samples.values(ERRORS) == {("2", "hw_error"): 0.0, ("3", "hw_error"): 0.0}
    assert samples.value(ECC, "1", REPAIRABLE) == 3.0
    starts = {each.spec.name: each.start_value for each in samples.snapshot.shape}
    assert (starts[RESETS], samples.value(ECC, "0", REPAIRABLE)) == (1.0, None)


def test_no_readings_make_no_series() -> None:
    samples = Machinery().samples(report_of_devices(2, 0, 1), None)
    names = {each.spec.name for each in samples.snapshot.shape}
    assert not names & {ERRORS, POWER, RESETS, "neurondevice_info", "neurondevice_health"}
    assert not any(each.split_value == REPAIRABLE for each in samples.snapshot.shape)


def test_gauges_vanish_and_counters_stay() -> None:
    """Values that are too old are not shown; what was counted is not lost."""
    machine, document = Machinery(), report_of_devices(1, 0)
    both = DeviceReadings(power={"avg": 0.2}, health={"hbm": 1.0}, resets={"failed": 4})
    machine.samples(document, {0: both})
    samples = machine.samples(document, None)
    assert not samples.values(POWER)
    assert not samples.values("neurondevice_health")
    assert samples.value(RESETS, "0", "failed") == 4.0


@pytest.mark.parametrize(
    ("listed", "own", "is_task", "expected"),
    [
        ((0, 1), (), False, {0, 1}),
        ((0, 3), (), False, {0, 3}),  # the machine has lost devices 1 and 2
        ((), (), False, {0, 1, 2, 3}),  # nothing else is known
        ((0, 1, 2, 3), (2, 3), False, {0, 1, 2, 3}),  # the reports cover the machine
        ((2, 3), (2, 3), False, {2, 3}),
        ((0, 1), (2, 3), False, set()),  # renumbered: 0 may be device 2
        ((0, 1), (0, 2), False, set()),
        ((0, 1), (0, 1), False, {0, 1}),
        ((), (0, 1), False, {0, 1}),
        ((0, 1, 2, 3), (2, 3), True, {2, 3}),
        ((2, 3), (2, 3), True, {2, 3}),
        ((0, 1), (2, 3), True, set()),
        ((), (), True, set()),
        ((), (0, 1), True, set()),
    ],
)
def test_devices_of_the_reports_only(
    listed: tuple[int, ...], own: tuple[int, ...], is_task: bool, expected: set[int]
) -> None:
    """The files of other devices add nothing, and files add no devices to those in a report."""
    machine = Machinery(frozenset(own), is_task=is_task)
    document = report_of_devices(len(listed or own) or 4, *listed)
    samples = machine.samples(document, powered(0, 1, 2, 3))
    assert {int(device) for device, _ in samples.values(POWER)} == expected
    assert all(samples.value(POWER, str(each), "avg") == each / 100 for each in expected)


@pytest.mark.parametrize(
    ("per_device", "size", "folders", "expected"),
    [
        (2, 1, 2, {2: 1.0, 3: 10.0}),
        (2, None, 2, {2: 1.0, 3: 10.0}),  # reports before LNC
        (4, 2, 8, {4: 11.0, 5: 1100.0, 6: 110_000.0, 7: 11_000_000.0}),
        (8, 1, 8, {8 + folder: 10.0**folder for folder in range(8)}),
        (4, 2, 4, {}),  # folders of logical or of half of the physical cores
        (4, 1, 8, {}),
        (None, 2, 8, {}),
    ],
)
def test_folders_of_physical_cores(
    per_device: int | None, size: int | None, folders: int, expected: dict[int, float]
) -> None:
    """A logical core has the errors of its physical ones; unknown cores have no series."""
    counts = {"neuroncore_per_device_count": per_device, "logical_neuroncore_config": size}
    document = report_of_devices(2, 0, 1)
    document["neuron_hardware_info"] = {
        **HARDWARE,
        "neuron_device_count": 2,
        **{name: count for name, count in counts.items() if count is not None},
    }
    if per_device is None:
        del document["neuron_hardware_info"]
    machine = Machinery()
    machine.samples(document, {1: failed(dict.fromkeys(range(folders), 0))})
    readings = {1: failed({folder: 10**folder for folder in range(folders)})}
    samples = machine.samples(document, readings)
    assert {int(core): value for (core, _), value in samples.values(ERRORS).items()} == expected


def test_core_numbers_with_a_gap_are_not_understood() -> None:
    machine, document = Machinery(), report_of_devices(1, 0)
    assert not machine.samples(document, {0: failed({0: 1, 2: 1})}).values(ERRORS)
    assert machine.samples(document, {0: failed({0: 1, 1: 1})}).values(ERRORS)
    assert not machine.samples(document, {0: failed({0: 1, 1: 1, 2: 1})}).values(ERRORS)


def test_rises_are_counted_and_falls_are_not() -> None:
    """The exit of a runtime takes its errors out of the driver's sum: the rest is not new."""
    machine, document = Machinery(), report_of_devices(1, 0)
    values = []
    for total in (7, 9, 2, 3, 0, 1):
        samples = machine.samples(document, {0: failed({0: total, 1: 0})})
        values.append(samples.value(ERRORS, "0", "hw_hbm_ue_error"))
    assert values == [0, 2, 2, 3, 3, 4]


def test_a_physical_core_that_is_read_late_adds_no_errors() -> None:
    """What it had before its first reading is not new, unlike what it counts from then on."""
    machine, document = Machinery(), report_of_devices(1, 0)
    document["neuron_hardware_info"] = {
        **HARDWARE,
        "neuron_device_count": 1,
        "neuroncore_per_device_count": 1,
        "logical_neuroncore_config": 2,
    }
    unread = DeviceReadings(core_errors={0: {"hw_error": 5}, 1: {}})
    values = []
    for readings in (unread, *(failed({0: 5, 1: total}, "hw_error") for total in (3, 4))):
        samples = machine.samples(document, {0: readings})
        values.append(samples.value(ERRORS, "0", "hw_error"))
        starts = {each.start_value for each in samples.snapshot.shape if each.spec.name == ERRORS}
        assert starts == {0.0}
    assert values == [0, 0, 1]


def test_resets_of_the_driver_do_not_reset_counters() -> None:
    """A new driver counts resets and ECC events from 0, and all that it counts are new."""
    machine, document = Machinery(), report_of_devices(1, 0)
    values = []
    for total in (5, 6, 0, 2):
        readings = DeviceReadings(resets={"requested": total}, ecc_repairable=total)
        samples = machine.samples(document, {0: readings})
        values.append(
            (samples.value(RESETS, "0", "requested"), samples.value(ECC, "0", REPAIRABLE))
        )
    assert values == [(5, 5), (6, 6), (6, 6), (8, 8)]


def test_a_pass_is_counted_once() -> None:
    """Reports that come more often than passes see the same readings again."""
    machine, document = Machinery(), report_of_devices(1, 0)
    first, second = ({0: failed({0: total, 1: 0})} for total in (1, 3))
    for readings in (first, second, second, second):
        samples = machine.samples(document, readings)
    assert samples.value(ERRORS, "0", "hw_hbm_ue_error") == 2


def test_counters_have_no_labels_of_owners() -> None:
    """They go on when a core or device changes owner. Gauges show the owner."""
    machine, document = Machinery(), report_of_devices(1, 0)
    pod = Owner(namespace="jobs", pod="train-0")
    owners = Owners(by_core={0: pod}, by_device={0: pod})
    readings = DeviceReadings(
        power={"avg": 0.5}, resets={"failed": 0}, core_errors={0: {"hw_error": 1}, 1: {}}
    )
    samples = machine.samples(document, {0: readings}, owners)
    assert samples.values(POWER) == {("0", "jobs", "train-0", "avg"): 0.5}
    assert samples.values(RESETS) == {("0", "failed"): 0}
    assert samples.values(ERRORS) == {("0", "hw_error"): 0}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # A repair becomes pending: the total moves, first in the one source or in the other.
        ([(4, 0), (0, 0), (0, 4), (0, 5)], (4, 1)),
        ([(4, 0), (4, 4), (0, 4), (0, 5)], (4, 1)),
        ([(4, 0), (0, 5), (0, 5)], (4, 1)),
        ([(4, 0), (None, 4), (None, 5)], (4, 1)),
        ([(0, 0), (2, 0), (2, 2), (0, 2)], (2, 0)),
        # New errors are repairable, and cannot be read for a while.
        ([(0, 0), (0, 3), (0, 0), (0, 3), (0, 4)], (0, 4)),
        ([(0, 3), (0, 0), (0, 3)], (0, 3)),
        # The repair fails: neuron-monitor's series counts the total again, and goes on.
        ([(0, 0), (0, 2), (2, 2), (2, 0), (3, 0)], (3, 2)),
        ([(0, 0), (0, 2), (0, 0), (2, 0), (3, 0)], (3, 2)),
        # The total is reset.
        ([(0, 6), (0, 2), (0, 3)], (0, 9)),
    ],
)
def test_uncorrected_errors_that_neuron_monitor_counts_are_not_repairable_too(
    steps: list[tuple[int | None, int]], expected: tuple[int, int]
) -> None:
    """The driver shows its total as repairable or as uncorrected (neuron-monitor's series)."""
    machine = Machinery()
    for reported, repairable in steps:
        device = {"neuron_device_index": 0, "mem_ecc_uncorrected": reported}
        document = report(
            neuron_hardware_info={**HARDWARE, "neuron_device_count": 1},
            system_data={
                "neuron_hw_counters": {"period": 5.0, "neuron_devices": [device], "error": ""}
            },
        )
        samples = machine.samples(document, {0: DeviceReadings(ecc_repairable=repairable)})
    counted = samples.value(ECC, "0", "mem_ecc_uncorrected"), samples.value(ECC, "0", REPAIRABLE)
    assert counted == expected
