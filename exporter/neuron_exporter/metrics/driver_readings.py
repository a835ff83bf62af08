"""Joins the readings of the driver's files with the devices and cores of the reports.

The readings only add to what the reports show: the files are those of all devices of the machine,
also in a container that has some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Generic, TypeVar

from neuron_exporter.facts.driver_files import REPAIRABLE
from neuron_exporter.facts.kernel_log import ERROR_TYPES
from neuron_exporter.metrics.ecc_counters import CumulativeCounter
from neuron_exporter.metrics.inventory import Inventory
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings

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
        self._ecc = _Counters[int]("reset_aware")
        self._resets = _Counters[int]("reset_aware")
        # The driver may sum over living runtimes: the exit of one is no reset to 0.
        self._errors = _Counters[tuple[int, int]]("level")
        self._core_folders: dict[int, Set[int]] = {}
        self._by_core: Mapping[int, Totals] = {}
        self._by_core_key: object = None

    def update(self, readings: HardwareReadings) -> None:
        """Take the latest readings, which are counted once, and the inventory into account."""
        if readings is not self._latest:
            self._latest = readings
            for index, device in readings.devices.items():
                self._count(index, device)
        found = readings.devices.keys()
        self._shown = frozenset(found & self._own_devices(found) if found else ())
        self._counted |= self._shown

    def _count(self, index: int, device: DeviceReadings) -> None:
        if device.ecc_repairable is not None:
            self._ecc.observe(index, {REPAIRABLE: device.ecc_repairable})
        self._resets.observe(index, device.resets)
        for core, errors in device.core_errors.items():
            self._errors.observe((index, core), errors)
        if device.core_errors:
            self._core_folders[index] = device.core_errors.keys()

    def _own_devices(self, found: Set[int]) -> Set[int]:
        """Return the devices whose files may be joined with the reports by their index.

        These are the devices of the reports. If no report lists any, the files are evidence of
        devices, except for a task. A report that covers only the exporter's container may number
        its devices from 0, unlike the files.
        """
        inventory, own = self._inventory, self._present_devices()
        listed = inventory.devices
        known = inventory.counted_devices if listed is None else listed
        if own and found - own and inventory.covers_only(own) and not known <= own:
            return set()
        if listed is None:
            if self._scope is not None:
                return set()
            return found & own if own else found
        return listed if self._scope is None else set(filter(self._scope.has_device, listed))

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
        return self._ecc.totals.get(device, {}) if device in self._counted else {}

    def resets(self, device: int) -> Totals:
        """Return the counters of resets by result."""
        return self._resets.totals.get(device, {}) if device in self._counted else {}

    def kernel_errors(self, device: int) -> Totals:
        """Return the counters of errors in the kernel's log, which begin at 0 for known types."""
        errors = self._latest.kernel_errors
        if errors is None:
            return {}
        is_own = device in self._own_devices(errors.keys())
        counts = errors.get(device, {}) if is_own else {}
        return {name: (counts.get(name, 0), 0.0) for name in (*ERROR_TYPES, *counts)}

    def core_errors(self) -> Mapping[int, Totals]:
        """Return the counters of hardware errors by type, of each logical core."""
        inventory = self._inventory
        sizes = inventory.cores_per_device, inventory.logical_core_size
        key = sizes, self._counted, self._errors.changes, dict(self._core_folders)
        if key != self._by_core_key:  # they rarely change
            self._by_core_key = key
            self._by_core = self._sum_by_core()
        return self._by_core

    def _sum_by_core(self) -> dict[int, Totals]:
        by_core: dict[int, Totals] = {}
        for (device, folder), totals in self._errors.totals.items():
            core = self._logical_core(device, folder) if device in self._counted else None
            if core is not None:
                sums = by_core.setdefault(core, {})
                for kind, (value, start) in totals.items():
                    other_value, other_start = sums.get(kind, (0.0, 0.0))
                    sums[kind] = other_value + value, other_start + start
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
