"""Values that the driver's files add to what neuron-monitor reports.

They are immutable: the reader publishes a new object and never changes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DeviceReadings:
    """Readings of one device. Those that were not read or are not valid are absent."""

    # "min", "max" or "avg" -> ratio of the maximum power; empty unless the driver says valid
    power: Mapping[str, float] = field(default_factory=dict)
    serial_number: str = ""
    # component -> 1.0 (healthy) or 0.0
    health: Mapping[str, float] = field(default_factory=dict)
    # the total of mem_ecc_repairable_uncorrected
    ecc_repairable: int | None = None
    # "requested" or "failed" -> total
    resets: Mapping[str, int] = field(default_factory=dict)
    # k of the directory neuron_core<k> -> type of error -> total
    core_errors: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HardwareReadings:
    """Readings of one pass over the driver's files, by the index of the device."""

    devices: Mapping[int, DeviceReadings]
    # device -> type of error -> number of lines in the kernel's log; None unless it is read
    kernel_errors: Mapping[int, Mapping[str, int]] | None = None


NO_READINGS = HardwareReadings({})
