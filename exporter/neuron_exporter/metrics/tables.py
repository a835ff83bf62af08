"""Tables that the catalogue's rows read: one for each kind of entity, one column per quantity.

A column has one value for each entity, in the same order, None where the report has no reading.
Columns are much cheaper than an object for each entity when a report has thousands of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from neuron_exporter.facts.report_names import GENERIC
from neuron_exporter.metrics.latency import CompletedExecutions, distributions
from neuron_exporter.model import Column, Distribution, Entity, EntityKind
from neuron_exporter.text import sanitize_text

_COUNTS = ("neuron_device_count", "neuroncore_per_device_count", "neuron_device_memory_size")

ENTITY_LABELS: dict[EntityKind, tuple[str, ...]] = {
    EntityKind.MACHINE: (),
    EntityKind.HARDWARE: (
        *_COUNTS,
        "neuron_device_type",
        "neuron_device_version",
        "neuroncore_version",
        "logical_neuroncore_config",
    ),
    EntityKind.HARDWARE_COUNTS: _COUNTS,
    EntityKind.DRIVER: ("version",),
    EntityKind.TOOLS: ("version",),
    EntityKind.CPU: ("cpu",),
    EntityKind.CORE: ("neuroncore",),
    EntityKind.PHYSICAL_CORE: ("neuroncore", "physical_neuroncore"),
    EntityKind.DEVICE: ("neuron_device_index",),
    EntityKind.DEVICE_INFO: ("neuron_device_index", "serial_number"),
    EntityKind.RUNTIME: ("runtime_tag",),
    EntityKind.RUNTIME_TOTALS: ("runtime_tag",),
    EntityKind.RUNTIME_CORE: ("neuroncore", "runtime_tag"),
    EntityKind.CORE_RUNTIME: ("neuroncore", "runtime_tag", "pid"),
}
"""Labels of each kind of entity, without those of owners."""

RUNTIME_KINDS = frozenset(
    {
        EntityKind.RUNTIME,
        EntityKind.RUNTIME_TOTALS,
        EntityKind.RUNTIME_CORE,
        EntityKind.CORE_RUNTIME,
    }
)
"""Kinds of which there may be any number, with labels of any user."""

Columns = dict[str, Column]
"""A column for each value of the label that splits a metric."""


@dataclass(slots=True)
class Table:
    """Entities that have no values."""

    entities: list[Entity]

    @property
    def ones(self) -> Column:
        """1 for every entity: the value of info metrics."""
        return [1.0] * len(self.entities)

    @property
    def no_columns(self) -> Columns:
        """No series: for metrics that do not come from a report."""
        return {}


def facts_table(facts: object, names: Iterable[str]) -> Table:
    """Return an entity with the facts of these names that are known; empty if none is."""
    values = ((name, getattr(facts, name)) for name in names)
    labels = tuple(
        (name, sanitize_text(value) if isinstance(value, str) else str(int(value)))
        for name, value in values
        if value not in (None, "")
    )
    return Table([Entity(labels)] if labels else [])


def device_info_table(serial_numbers: Mapping[int, str]) -> Table:
    """Return an entity for each device with a serial number."""
    names = ENTITY_LABELS[EntityKind.DEVICE_INFO]
    values = ((str(device), number) for device, number in serial_numbers.items())
    return Table([Entity(tuple(zip(names, each, strict=True))) for each in values])


def version_table(version: str) -> Table:
    """Return an entity with this version; empty if it is unknown."""
    return Table([Entity((("version", version),))] if version else [])


@dataclass(slots=True)
class RuntimeCoreTable(Table):
    """NeuronCores by runtime: ratios, and bytes by category."""

    utilization: Column
    constants: Column
    model_code: Column
    model_shared_scratchpad: Column
    runtime_memory: Column
    tensors: Column


@dataclass(slots=True)
class CoreTable(RuntimeCoreTable):
    """NeuronCores, summed over runtimes; also FLOP/s, hardware errors by type, and `allocated` is 1
    or 0."""

    flops: Column
    effective_flops: Column
    allocated: Column
    hardware_errors: Columns


@dataclass(slots=True)
class PhysicalCoreTable(Table):
    """Physical cores of logical NeuronCores: ratios."""

    utilization: Column


@dataclass(slots=True)
class CpuTable(Table):
    """CPUs of the host: ratios."""

    vcpu: Columns


@dataclass(slots=True)
class DeviceTable(Table):
    """Devices: ECC readings, counters and start values by event type; memory in bytes and ratio.

    Of the driver's files: power as ratios by statistic, health (1 or 0) by component, and counters
    of resets by result. Of the kernel's log: counters of errors by type.
    """

    ecc_reading: Columns
    ecc: Columns
    ecc_start: dict[str, list[float]]
    memory_used: Column
    memory_utilization: Column
    power: Columns
    health: Columns
    resets: Columns
    resets_start: dict[str, list[float]]
    kernel_errors: Columns


@dataclass(slots=True)
class RuntimeTable(Table):
    """Runtimes, merged by labels: bytes, ratios, percentiles, executions and gaps (s)."""

    memory: Columns
    host_memory: Columns
    vcpu: Columns
    latency: Columns
    device_latency: Columns
    executions: list[tuple[CompletedExecutions, ...]]
    gap: Column
    longest_gap: Column

    @property
    def latencies(self) -> list[Distribution | None]:
        """Distributions of the total latency (s)."""
        return distributions(self.executions, attrgetter("latency"))

    @property
    def device_latencies(self) -> list[Distribution | None]:
        """Distributions of the latency on the device (s)."""
        return distributions(self.executions, attrgetter("device_latency"))


@dataclass(slots=True)
class RuntimeTotalsTable(Table):
    """Runtimes, merged by labels, also those that have exited: counters."""

    statuses: Columns
    errors: Columns
    generic_errors: Column

    @property
    def all_errors(self) -> Columns:
        """Errors by type, with the `generic` level."""
        return {**self.errors, GENERIC: self.generic_errors}


@dataclass(slots=True)
class MachineTable(Table):
    """Machine: totals since the exporter started; its devices; ratios and bytes of the host."""

    statuses: Columns
    errors: Columns
    cores_in_use: Column
    devices_expected: Column
    devices_present: Column
    vcpu: Columns
    vcpu_utilization: Column
    context_switches: Column
    vcpu_count: Column
    memory_total: Column
    memory_used: Column
    memory_utilization: Column
    swap_total: Column
    swap_used: Column
