"""Restricts reports to one task where several tasks share a machine.

A task has whole devices: those that are mapped into its containers. Its cores are those of its
devices, and its runtimes are those that use or once used one of its cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.inventory import Inventory

_log = get_logger(part="metrics")

V = TypeVar("V")


class TaskScope:
    """Cores and runtimes of one task. Used by one thread.

    `present_devices` returns the indices of the task's devices. A report that covers only these may
    number them from 0, unlike /dev.

    Attributes:
        device_count: Number of the task's devices, None if there are none.
        numbered_from_zero: False if the task's devices in /dev are numbered otherwise, so that
            the numbers of the devices do not follow from their count.
    """

    def __init__(self, present_devices: Callable[[], Set[int]]) -> None:
        self._present_devices = present_devices
        self.device_count: int | None = None
        self.numbered_from_zero = True
        self._cores_per_device: int | None = None
        self._devices: Set[int] | None = None
        self._uses_our_cores: dict[RuntimeKey, bool] = {}
        self._logged = False

    def update(self, inventory: Inventory) -> None:
        """Compare the devices of the reports with those of the container."""
        self._cores_per_device = inventory.cores_per_device
        present = self._present_devices()
        self.device_count = len(present) or None
        if not present and not self._logged:
            self._logged = True
            _log.error("no_devices_in_container", advice="map /dev/neuronN into this container")
        covers_all = inventory.covers_only(present)
        self.numbered_from_zero = not covers_all or inventory.counted_devices <= present
        self._devices = None if covers_all else present
        if not (covers_all or self._logged):
            self._logged = True
            _log.warning(
                "partial_device_access",
                devices_of_the_task=sorted(present),
                devices_of_the_report=inventory.device_count,
            )

    def cores(self, by_core: dict[int, V]) -> dict[int, V]:
        """Return the entries of the task's cores; the same object if the task has all."""
        if self._devices is None:
            return by_core
        return {core: value for core, value in by_core.items() if self.has_core(core)}

    def has_core(self, core: int) -> bool:
        """Return whether a core belongs to the task; false until cores per device are known."""
        if self._devices is None:
            return True
        cores_per_device = self._cores_per_device
        return cores_per_device is not None and core // cores_per_device in self._devices

    def has_device(self, device: int) -> bool:
        """Return whether a device belongs to the task."""
        return self._devices is None or device in self._devices

    def includes(self, key: RuntimeKey, used_cores: Set[int] | None) -> bool:
        """Return whether a runtime may belong to the task.

        `used_cores` are the cores that the runtime uses now, None if they could not be read. A
        runtime whose cores could never be read is included: it may use the task's cores, which
        must then not be shown as idle.
        """
        if self._devices is None:
            return True
        uses_ours = None if used_cores is None else any(map(self.has_core, used_cores))
        if uses_ours or (uses_ours is False and key not in self._uses_our_cores):
            self._uses_our_cores[key] = uses_ours
        return self._uses_our_cores.get(key, True)

    def retain_runtimes(self, present: Iterable[RuntimeKey]) -> None:
        """Drop the state of exited runtimes."""
        known = self._uses_our_cores
        self._uses_our_cores = {key: known[key] for key in present if key in known}
