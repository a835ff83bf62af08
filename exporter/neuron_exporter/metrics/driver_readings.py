"""Joins the readings of the driver's files with the devices and cores of the reports.

The readings only add to what the reports show: the files are those of all devices of the machine,
also in a container that has some of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Set
from typing import Generic, TypeVar

from neuron_exporter.facts.driver_files import REPAIRABLE
from neuron_exporter.facts.kernel_log import ERROR_TYPES
from neuron_exporter.metrics.ecc_counters import CumulativeCounter
from neuron_exporter.metrics.inventory import Inventory
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings
from neuron_exporter.report.schema import Report

Totals = dict[str, tuple[float, float]]
"""Value and start value of counters, by the value of the label that splits a metric."""

K = TypeVar("K")

_NOTHING = DeviceReadings()


class DriverReadings:
    """Readings of the latest pass, and counters since the first. Used by one thread.

    `present_devices` returns the devices that the exporter's container has.
    """

    def __init__(
        self,
        inventory: Inventory,
        scope: TaskScope | None,
        present_devices: Callable[[], Set[int]],
    ) -> None:
        self._inventory = inventory
        self._scope = scope
        self._present_devices = present_devices
        self._latest = NO_READINGS
        self._shown: frozenset[int] = frozenset()
        self._counted: frozenset[int] = frozenset()
        self._kernel_devices: frozenset[int] = frozenset()
        self._ecc: defaultdict[int, _RepairableErrors] = defaultdict(_RepairableErrors)
        self._resets = _Counters[int]("reset_aware")
        # The driver may sum over living runtimes: the exit of one is no reset to 0.
        self._errors = _Counters[tuple[int, int]]("level")
        self._core_folders: dict[int, Set[int]] = {}
        self._by_core: Mapping[int, dict[str, float]] = {}
        self._by_core_key: object = None

    def update(self, readings: HardwareReadings, report: Report) -> None:
        """Take the latest readings, which are counted once, the report and the inventory into
        account."""
        is_new, self._latest = readings is not self._latest, readings
        found, errors = readings.devices.keys(), readings.kernel_errors
        if not found and errors is None:
            self._shown = frozenset()
            return
        # First, as an error that neuron-monitor has reported is not a repairable one too.
        for index, total in _uncorrected_errors(report).items():
            self._ecc[index].observe_others(total)
        for index, device in readings.devices.items() if is_new else ():
            self._count(index, device)
        own = self._present_devices()
        self._shown = frozenset(found & self._own_devices(found, own)) if found else frozenset()
        self._counted |= self._shown
        if errors is not None:
            known = errors.keys() | self._inventory.counted_devices | self._counted
            # A device that the reports have lost keeps its errors.
            self._kernel_devices = (
                frozenset()
                if self._may_be_renumbered(own)
                else self._kernel_devices | self._own_devices(known, own)
            )

    def _count(self, index: int, device: DeviceReadings) -> None:
        if device.ecc_repairable is not None:
            self._ecc[index].observe(device.ecc_repairable)
        self._resets.observe(index, device.resets)
        for core, errors in device.core_errors.items():
            self._errors.observe((index, core), errors)
        if device.core_errors:
            self._core_folders[index] = device.core_errors.keys()

    def _own_devices(self, found: Set[int], own: Set[int]) -> Set[int]:
        """Return the devices whose files may be joined with the reports by their index.

        These are the devices of the reports. If no report lists any, the files are evidence of
        devices, except for a task. `own` are the devices of the exporter's container.
        """
        if found - own and self._may_be_renumbered(own):
            return set()
        listed = self._inventory.devices
        if listed is None:
            if self._scope is not None:
                return set()
            return found & own if own else found
        return listed if self._scope is None else set(filter(self._scope.has_device, listed))

    def _may_be_renumbered(self, own: Set[int]) -> bool:
        """Return whether the reports may number the container's devices from 0, unlike the driver.

        They may if they cover only the container.
        """
        listed = self._inventory.devices
        known = self._inventory.counted_devices if listed is None else listed
        return bool(own) and self._inventory.covers_only(own) and not known <= own

    @property
    def devices(self) -> Set[int]:
        """Devices with readings now or counters."""
        return self._counted

    @property
    def serial_numbers(self) -> Mapping[int, str]:
        """Serial number of each device that has one."""
        return {
            device: number
            for device in sorted(self._shown)
            if (number := self._latest.devices[device].serial_number)
        }

    def of(self, device: int) -> DeviceReadings:
        """Return the latest readings of a device, empty if it has none."""
        return self._latest.devices[device] if device in self._shown else _NOTHING

    def ecc(self, device: int) -> Totals:
        """Return the counters of ECC events that only the driver's files have."""
        return self._ecc[device].totals if device in self._counted else {}

    def resets(self, device: int) -> Totals:
        """Return the counters of resets by result."""
        return self._resets.totals.get(device, {}) if device in self._counted else {}

    def kernel_errors(self, device: int) -> dict[str, float]:
        """Return the errors in the kernel's log by type, 0 for known types without any."""
        errors = self._latest.kernel_errors
        if errors is None or device not in self._kernel_devices:
            return {}
        return {**dict.fromkeys(ERROR_TYPES, 0), **errors.get(device, {})}

    def core_errors(self) -> Mapping[int, dict[str, float]]:
        """Return the hardware errors of each logical core by type, since the first reading.

        So a physical core that is first read later adds nothing.
        """
        inventory = self._inventory
        sizes = inventory.cores_per_device, inventory.logical_core_size
        key = sizes, self._counted, self._errors.changes, dict(self._core_folders)
        if key != self._by_core_key:  # they rarely change
            self._by_core_key = key
            self._by_core = self._sum_by_core()
        return self._by_core

    def _sum_by_core(self) -> dict[int, dict[str, float]]:
        by_core: dict[int, dict[str, float]] = {}
        for (device, folder), totals in self._errors.totals.items():
            core = self._logical_core(device, folder) if device in self._counted else None
            if core is not None:
                sums = by_core.setdefault(core, {})
                for kind, (value, start) in totals.items():
                    sums[kind] = sums.get(kind, 0.0) + value - start
        return by_core

    def _logical_core(self, device: int, folder: int) -> int | None:
        """Return the logical core of a folder `neuron_core<k>`; None if it is unknown.

        The folders are those of physical cores, `logical_core_size` of which form a logical one.
        """
        per_device, size = self._inventory.cores_per_device, self._inventory.logical_core_size
        if per_device is None or size is None:
            return None
        if self._core_folders[device] != set(range(per_device * size)):
            return None
        return device * per_device + folder // size


class _RepairableErrors:
    """Counter of the uncorrected errors of a device's memory while a repair is pending.

    The driver has one total of uncorrected errors. It shows it as repairable while a repair is
    pending, and otherwise as `mem_ecc_uncorrected`, which is neuron-monitor's series. So only what
    rises above the highest total of both is new. A total of 0 may be one that cannot be read.
    """

    def __init__(self) -> None:
        self._highest = 0.0
        self._last = 0
        self.totals: Totals = {}

    def observe_others(self, total: float) -> None:
        """Take the total of `mem_ecc_uncorrected` into account."""
        self._highest = max(self._highest, total)

    def observe(self, total: int) -> None:
        """Count the repairable total; the first one is the start value."""
        if not self.totals:
            self.totals = {REPAIRABLE: (total, total)}
        elif total:
            if total < self._last:  # it was reset
                self._highest = 0.0
            value, start = self.totals[REPAIRABLE]
            self.totals = {REPAIRABLE: (value + max(0.0, total - self._highest), start)}
        if total:
            self._last, self._highest = total, max(self._highest, total)


def _uncorrected_errors(report: Report) -> dict[int, float]:
    """Return what neuron-monitor reports as `mem_ecc_uncorrected`, by device."""
    counters = report.system_data.neuron_hw_counters if report.system_data else None
    if counters is None or counters.error:
        return {}
    return {
        device.neuron_device_index: device.mem_ecc_uncorrected
        for device in counters.neuron_devices or ()
        if device is not None
        and device.neuron_device_index is not None
        and device.mem_ecc_uncorrected is not None
    }


class _Counters(Generic[K]):
    """Counters of driver totals that may fall, by entity."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._counters: dict[K, dict[str, CumulativeCounter]] = {}
        self._readings: dict[K, Mapping[str, int]] = {}
        self.totals: dict[K, Totals] = {}
        self.changes = 0
        """Number of changes of `totals`."""

    def observe(self, key: K, readings: Mapping[str, int]) -> None:
        """Count the readings of an entity; the first of each is its start value."""
        if not readings or readings == self._readings.get(key):
            return
        self._readings[key] = readings
        self.changes += 1
        counters = self._counters.setdefault(key, {})
        for name, reading in readings.items():
            if name in counters:
                counters[name].observe(reading)
            else:
                counters[name] = CumulativeCounter(self._mode, reading)
        self.totals[key] = {name: (each.value, each.start) for name, each in counters.items()}
