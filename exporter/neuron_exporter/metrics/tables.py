"""What rows read: one table for each place, with a column for each quantity.

A column has one value for each spot of its place, in the same order, and None where there is no
reading. Columns, and not an object for each spot, are what makes a report with a thousand values
cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuron_exporter.metrics.counters import GENERIC
from neuron_exporter.model import Column, Distribution, Place, Spot

LABELS: dict[Place, tuple[str, ...]] = {
    Place.MACHINE: (),
    Place.HARDWARE: (
        "neuron_device_count",
        "neuroncore_per_device_count",
        "neuron_device_memory_size",
        "neuron_device_type",
        "neuron_device_version",
        "neuroncore_version",
        "logical_neuroncore_config",
    ),
    Place.HARDWARE_COUNTS: (
        "neuron_device_count",
        "neuroncore_per_device_count",
        "neuron_device_memory_size",
    ),
    Place.DRIVER: ("version",),
    Place.TOOLS: ("version",),
    Place.CPU: ("cpu",),
    Place.CORE: ("neuroncore",),
    Place.PHYSICAL_CORE: ("neuroncore", "physical_neuroncore"),
    Place.DEVICE: ("neuron_device_index",),
    Place.RUNTIME: ("runtime_tag",),
    Place.RUNTIME_CORE: ("neuroncore", "runtime_tag"),
    Place.HOLDER: ("neuroncore", "runtime_tag", "pid"),
}
"""The labels of each place, owners' labels aside."""


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
class CoreMemoryTable(Table):
    """Bytes on NeuronCores by category."""

    constants: Column
    model_code: Column
    model_shared_scratchpad: Column
    runtime_memory: Column
    tensors: Column


@dataclass(slots=True)
class CoreTable(CoreMemoryTable):
    """NeuronCores, all runtimes together: shares of 1, FLOP/s, bytes; 1 where it was given to
    somebody."""

    utilization: Column
    flops: Column
    effective_flops: Column
    allocated: Column


@dataclass(slots=True)
class RuntimeCoreTable(CoreMemoryTable):
    """NeuronCores as each runtime uses them: shares of 1, bytes."""

    utilization: Column


@dataclass(slots=True)
class PhysicalCoreTable(Table):
    """Physical cores under logical ones: shares of 1."""

    utilization: Column


@dataclass(slots=True)
class CpuTable(Table):
    """CPUs of the host: shares of 1."""

    vcpu: Columns


@dataclass(slots=True)
class DeviceTable(Table):
    """Devices: ECC readings and counters by event type, bytes, and the used share of the memory."""

    ecc_reading: Columns
    ecc: Columns
    ecc_start: dict[str, list[float]]
    memory_used: Column
    memory_utilization: Column


@dataclass(slots=True)
class RuntimeTable(Table):
    """Runtimes, those with equal labels as one: bytes, shares of 1, counters, percentiles and
    distributions (s)."""

    memory: Columns
    host_memory: Columns
    vcpu: Columns
    statuses: Columns
    errors: Columns
    generic_errors: Column
    latency: Columns
    device_latency: Columns
    latencies: list[Distribution | None]
    device_latencies: list[Distribution | None]

    @property
    def all_errors(self) -> Columns:
        """The errors, and the level of 2022 that is no tally of errors."""
        return {**self.errors, GENERIC: self.generic_errors}


@dataclass(slots=True)
class MachineTable(Table):
    """The machine: totals since the start, and the host's shares of 1 and bytes."""

    statuses: Columns
    errors: Columns
    cores_in_use: Column
    vcpu: Columns
    vcpu_utilization: Column
    context_switches: Column
    vcpu_count: Column
    memory_total: Column
    memory_used: Column
    memory_utilization: Column
    swap_total: Column
    swap_used: Column
