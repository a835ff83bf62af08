"""Devices and cores that exist, by what the reports list and count."""

from __future__ import annotations

from collections.abc import Callable, Set

from neuron_exporter.report.schema import Report

_NONE: frozenset[int] = frozenset()


class Inventory:
    """Devices and cores of the reports, remembered where a report or a group leaves them out.

    The indices that a report lists take precedence over its number of devices: a container may have
    devices 4 to 7 only, and a machine may have lost a device in the middle.

    Attributes:
        container_devices: Returns the number of devices of the exporter's container if it has a
            part of the machine's, otherwise None.
        device_count: Number of devices, as last reported.
        cores_per_device: Number of logical cores of each device, as last reported.
        logical_core_size: Number of physical cores that form a logical one, as last reported.
        devices: Indices of the devices in the last list with ECC readings; None if there was none.
        has_driver: False if the report shows that the Neuron driver does not answer.
    """

    def __init__(self, container_devices: Callable[[], int | None]) -> None:
        self.container_devices = container_devices
        self.device_count: int | None = None
        self.cores_per_device: int | None = None
        self.logical_core_size: int | None = None
        self.devices: frozenset[int] | None = None
        self.has_driver = True
        self._listed_cores = _NONE

    def update(self, report: Report) -> None:
        """Take the hardware section and the list of devices of a report into account."""
        hardware = report.neuron_hardware_info
        counters = report.system_data.neuron_hw_counters if report.system_data else None
        if hardware is not None:
            self.has_driver = not hardware.error and hardware.neuron_device_count != 0
        else:
            self.has_driver = counters is None or counters.neuron_devices is not None
        if hardware is not None and not hardware.error:
            if hardware.neuron_device_count not in (None, 0, self.device_count):
                self.device_count = hardware.neuron_device_count
                self._listed_cores = _NONE
            self.cores_per_device = hardware.neuroncore_per_device_count or self.cores_per_device
            self.logical_core_size = hardware.logical_neuroncore_config or 1
        listed = counters.neuron_devices if counters is not None and not counters.error else None
        if listed:
            indices = frozenset(
                device.neuron_device_index
                for device in listed
                if device is not None and device.neuron_device_index is not None
            )
            if len(indices) == len(listed):
                self.devices = indices
            elif self.devices is not None:  # a device whose entry is unreadable is not gone
                self.devices |= indices

    @property
    def counted_devices(self) -> frozenset[int]:
        """Indices of the devices if they are numbered from 0 without gaps."""
        return frozenset(range(self.device_count or 0))

    @property
    def core_limit(self) -> int:
        """Number above those of all logical cores; 0 if it is unknown."""
        highest = max((*self.counted_devices, *(self.devices or ())), default=-1)
        return (highest + 1) * (self.cores_per_device or 0)

    def cores(self, listed: Set[int], used: Set[int], *, numbered_from_zero: bool) -> Set[int]:
        """Return the cores that exist.

        `listed` are the cores that any runtime lists, and `used` those of them that are busy or
        hold memory. Runtimes list every core of the machine, so that a core at zero is no evidence
        of a device that the list of devices lacks. If runtimes use cores of other devices, only
        the cores of the runtimes exist. Without a list of devices they are counted, unless runtimes
        list or last listed other cores, or `numbered_from_zero` is false.
        """
        self._listed_cores = frozenset(listed) or self._listed_cores
        if not self.has_driver or self.cores_per_device is None:
            return listed
        if self.devices is not None:
            cores = self.cores_of(self.devices)
            return cores if used <= cores else listed
        cores = self.cores_of(self.counted_devices)
        if self._listed_cores <= cores and (self._listed_cores or numbered_from_zero):
            return cores
        return self._listed_cores

    def cores_of(self, devices: Set[int]) -> Set[int]:
        """Return the cores of these devices."""
        count = self.cores_per_device or 0
        return {device * count + index for device in devices for index in range(count)}

    def covers_only(self, own: Set[int]) -> bool:
        """Return whether the reports cover only the container that has the devices `own`.

        They may then number these devices from 0, unlike /dev.
        """
        if self.devices is None:
            return self.device_count is not None and self.device_count <= len(own)
        renumbered = self.devices == frozenset(range(len(self.devices)))
        return self.devices <= own or (renumbered and len(self.devices) <= len(own))

    def devices_of(self, cores: Set[int]) -> int | None:
        """Return the number of devices of these cores; None if it is unknown."""
        if not self.has_driver:  # a machine whose driver was never there has lost no device
            return 0 if self.device_count or self.devices else None
        if self.cores_per_device is None:
            return None if self.devices is None else len(self.devices)
        return len({core // self.cores_per_device for core in cores}) or None
