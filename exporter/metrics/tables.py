"""What rows read: one table for each place, with a column for each quantity.

A column has one value for each spot of its place, in the same order, and None where there is no
reading. Columns, and not an object for each spot, are what makes a report with a thousand values
cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from exporter.model import NOBODY, Column, Distribution, Labels, Owner, Place

LABELS: dict[Place, tuple[str, ...]] = {
    Place.MACHINE: (),
    Place.HARDWARE: (
        "neuron_device_count",
        "neuroncore_per_device_count",
        "neuron_device_memory_size",
    ),
    Place.CORE: ("neuroncore",),
    Place.DEVICE: ("neuron_device_index",),
    Place.RUNTIME: ("runtime_tag",),
    Place.HOLDER: ("neuroncore", "runtime_tag", "pid"),
}
"""The labels of each place, owners' labels aside."""


class Spot(NamedTuple):
    """One place: its labels, and its owner."""

    labels: Labels
    owner: Owner = NOBODY


Columns = dict[str, Column]
"""A column for each value of the label that splits a row."""


@dataclass(slots=True)
class Table:
    """A place about which it is known that it is there, and nothing else."""

    spots: list[Spot]

    @property
    def one(self) -> Column:
        """1 for every spot."""
        return [1.0] * len(self.spots)

    @property
    def nothing(self) -> Columns:
        """No column: for what does not come from a report."""
        return {}


@dataclass(slots=True)
class CoreTable(Table):
    """NeuronCores, all runtimes together: shares of 1, FLOP/s, bytes by category."""

    utilization: Column
    effective_flops: Column
    constants: Column
    model_code: Column
    model_shared_scratchpad: Column
    runtime_memory: Column
    tensors: Column


@dataclass(slots=True)
class DeviceTable(Table):
    """Devices: ECC counters by event type, bytes, and the used share of the memory."""

    ecc: Columns
    ecc_start: dict[str, list[float]]
    memory_used: Column
    memory_utilization: Column


@dataclass(slots=True)
class RuntimeTable(Table):
    """Runtimes, those with equal labels as one: bytes, shares of 1, counters, percentiles (s)."""

    memory: Columns
    vcpu: Columns
    statuses: Columns
    errors: Columns
    latency: Columns
    device_latency: Columns


@dataclass(slots=True)
class MachineTable(Table):
    """The machine: totals since the start, and the host's shares of 1 and bytes."""

    statuses: Columns
    errors: Columns
    cores_in_use: Column
    latency: list[Distribution | None]
    device_latency: list[Distribution | None]
    vcpu: Columns
    vcpu_utilization: Column
    vcpu_count: Column
    memory_total: Column
    memory_used: Column
    memory_utilization: Column
    swap_total: Column
    swap_used: Column
