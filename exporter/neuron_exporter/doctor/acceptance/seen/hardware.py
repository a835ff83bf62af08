"""Devices and cores of a run: which exist, and how they are counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from neuron_exporter.model import SIMULATED_ID
from neuron_exporter.report.schema import HardwareInfo, Report


@dataclass(slots=True)
class HardwareSeen:
    """What the reports showed of devices and cores.

    Attributes:
        hardware: The last `neuron_hardware_info` without an error.
        devices: Indices in the last list of devices.
        lists: Different lists of devices, in order.
        changes: Number of reports whose counts differ from those of the report before.
        is_simulated: Whether the last report names a machine of the simulator.
    """

    hardware: HardwareInfo = field(default_factory=HardwareInfo)
    devices: frozenset[int] = frozenset()
    lists: list[frozenset[int]] = field(default_factory=list)
    changes: int = 0
    instance_type: str = ""
    is_simulated: bool = False

    def observe(self, report: Report) -> None:
        """Take a report into account."""
        info = report.instance_info or report.instance_data
        if info is not None:
            self.instance_type = info.instance_type or self.instance_type
            self.is_simulated = (info.instance_id or "").endswith(SIMULATED_ID)
        hardware = report.neuron_hardware_info
        if hardware is not None and not hardware.error:
            self._observe_counts(hardware)
        counters = report.system_data.neuron_hw_counters if report.system_data else None
        if counters is not None and not counters.error and counters.neuron_devices:
            indices = [
                each.neuron_device_index if each is not None else None
                for each in counters.neuron_devices
            ]
            if None not in indices:  # an unreadable entry may be any device
                self.devices = frozenset(index for index in indices if index is not None)
                if self.devices not in self.lists[-1:]:
                    self.lists.append(self.devices)

    def _observe_counts(self, hardware: HardwareInfo) -> None:
        """Take the readable fields; count a change if one differs from the report before."""
        names = HardwareInfo.__struct_fields__
        read = {n: value for n in names if (value := getattr(hardware, n)) is not None}
        before = {n: value for n in read if (value := getattr(self.hardware, n)) is not None}
        self.changes += any(read[name] != value for name, value in before.items())
        self.hardware = replace(self.hardware, **read)

    @property
    def cores_per_device(self) -> int:
        """Logical cores of a device; 0 if they are unknown."""
        return self.hardware.neuroncore_per_device_count or 0

    @property
    def logical_core_size(self) -> int:
        """Physical cores of a logical one, which reports before LNC do not have."""
        return self.hardware.logical_neuroncore_config or 1

    @property
    def core_count(self) -> int:
        """Logical cores by the counts of the reports; 0 if they are unknown."""
        return (self.hardware.neuron_device_count or 0) * self.cores_per_device

    def cores_of(self, device: int) -> range:
        """Return the cores that a device should have."""
        return range(device * self.cores_per_device, (device + 1) * self.cores_per_device)
