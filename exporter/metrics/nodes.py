"""What rows read: one kind of node for each place, and the labels of that place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.metrics.counters import Readings, Tallies
from exporter.model import Labels, Owner, Place

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
    """One place: its labels, its owner, and the node that rows read."""

    labels: Labels
    owner: Owner
    node: Any


class CoreNode(NamedTuple):
    """One NeuronCore, all runtimes together: share of 1, FLOP/s, bytes by category."""

    utilization: float | None
    effective_flops: float | None
    constants: float | None
    model_code: float | None
    model_shared_scratchpad: float | None
    runtime_memory: float | None
    tensors: float | None


@dataclass(slots=True)
class DeviceNode:
    """One device: ECC counters by event type, bytes, and the used share of its memory."""

    ecc: dict[str, float] | None = None
    ecc_start: Mapping[str, float] = field(default_factory=dict)
    memory_used: float | None = None
    memory_utilization: float | None = None


@dataclass(slots=True)
class RuntimeNode:
    """All runtimes with one label set: bytes, shares of 1, counters, highest percentiles (s)."""

    memory: dict[str, float] = field(default_factory=dict)
    vcpu: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    device_latency: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, float] | None = None
    errors: dict[str, float] | None = None


class Executions(NamedTuple):
    """What one process completed in a period, and its latency percentiles (s)."""

    completed: float
    total_latency: Readings | None
    device_latency: Readings | None


@dataclass(slots=True)
class MachineNode:
    """The machine: totals since the start, and the host's shares of 1 and bytes."""

    totals: Tallies
    cores_in_use: float | None = None
    executions: list[Executions] = field(default_factory=list)
    vcpu: dict[str, float] | None = None
    vcpu_count: float | None = None
    memory_total: float | None = None
    memory_used: float | None = None
    swap_total: float | None = None
    swap_used: float | None = None

    @property
    def vcpu_utilization(self) -> float | None:
        """The share of the host's CPU time that was busy, where all of it was read."""
        if self.vcpu is None or len(self.vcpu) < 2:
            return None
        return min(1.0, sum(self.vcpu.values()))

    @property
    def memory_utilization(self) -> float | None:
        """The share of the host's memory that is used."""
        if self.memory_used is None or not self.memory_total:
            return None
        return min(1.0, self.memory_used / self.memory_total)
