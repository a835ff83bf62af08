"""Walks a report place by place: the walkers say where a value belongs, the rows what it is."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.facts.instance_types import INSTANCE_TYPES
from exporter.metrics.counters import Counters, Rises
from exporter.metrics.nodes import LABELS, CoreNode, DeviceNode, MachineNode, Spot
from exporter.metrics.runtimes import Notes, Rules, RuntimeWalk, long_enough
from exporter.model import NOBODY, Group, Machine, Owners, Place
from exporter.report.types import CpuShares, HardwareInfo, Report, SystemData


class Survey:
    """Everything that one report says, by place. Made once a report; `counters` are advanced."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        *,
        machine: Machine,
        owners: Owners,
        rules: Rules,
        flops_known: bool,
        now: float,
    ) -> None:
        self.notes = Notes()
        self._counters = counters
        self._owners = owners
        self._rules = rules
        self._system = report.system_data or SystemData()
        hardware = report.neuron_hardware_info
        if hardware is not None and hardware.error:
            self.notes.add("neuron_hardware_info", hardware.error)
            hardware = None
        self._hardware = hardware or HardwareInfo()
        self._device_memory = self._hardware.neuron_device_memory_size
        if not self._device_memory and machine.instance_type in INSTANCE_TYPES:
            self._device_memory = INSTANCE_TYPES[machine.instance_type].device_memory_bytes
        self._walk = RuntimeWalk(report, counters, owners, rules, self.notes, now)
        # A generation that does not tell the rate shows none, not zero.
        self.flops_known = flops_known or bool(self._walk.flops.sums)
        self._fill_idle_cores()

    def spots(self, place: Place) -> Iterator[Spot]:
        """All spots of a place, in a stable order."""
        match place:
            case Place.MACHINE:
                return self._machine()
            case Place.HARDWARE:
                return self._hardware_labels()
            case Place.CORE:
                return self._cores()
            case Place.DEVICE:
                return self._devices()
            case Place.RUNTIME:
                return self._runtimes()
            case Place.HOLDER:
                return self._holders()

    def _fill_idle_cores(self) -> None:
        """A core that no runtime lists is idle, as long as every runtime could be read."""
        count = (self._hardware.neuron_device_count or 0) * (
            self._hardware.neuroncore_per_device_count or 0
        )
        if self._walk.cores_complete:
            self._walk.busy.fill(count)
            if self.flops_known:
                self._walk.flops.fill(count)
        if self._walk.memory_complete:
            for sums in self._walk.memory.values():
                sums.fill(count)

    def _machine(self) -> Iterator[Spot]:
        busy = self._walk.busy.sums
        node = MachineNode(self._counters.totals, executions=self._walk.executions)
        if busy:
            node.cores_in_use = float(sum(share > 0 for share in busy.values()))
        cpu = self.notes.usable(self._system.vcpu_usage, Group.VCPU_USAGE)
        if cpu is not None:
            if cpu.usage_data:
                node.vcpu_count = float(len(cpu.usage_data))
            if cpu.average_usage is not None and long_enough(cpu, self._rules):
                node.vcpu = _host_shares(cpu.average_usage)
        memory = self.notes.usable(self._system.memory_info, Group.MEMORY_INFO)
        if memory is not None:
            node.memory_total = memory.memory_total_bytes
            node.memory_used = memory.memory_used_bytes
            node.swap_total = memory.swap_total_bytes
            node.swap_used = memory.swap_used_bytes
        yield Spot((), NOBODY, node)

    def _hardware_labels(self) -> Iterator[Spot]:
        numbers = ((name, getattr(self._hardware, name)) for name in LABELS[Place.HARDWARE])
        labels = tuple((name, str(int(number))) for name, number in numbers if number is not None)
        if labels:
            yield Spot(labels, NOBODY, None)

    def _cores(self) -> Iterator[Spot]:
        walk, by_core = self._walk, self._owners.by_core
        busy, flops = walk.busy.sums, walk.flops.sums
        memory = [sums.sums for sums in walk.memory.values()]
        for core in sorted(set().union(busy, flops, *memory)):
            share = busy.get(core)
            node = CoreNode(
                None if share is None else min(1.0, share / 100),
                flops.get(core),
                *(category.get(core) for category in memory),
            )
            owner = by_core.get(core, NOBODY)
            yield Spot((("neuroncore", str(core)), *owner.labels()), owner, node)

    def _holders(self) -> Iterator[Spot]:
        for core, key in self._walk.holders:
            owner = self._owners.by_pid.get(key.pid, NOBODY) if key.pid is not None else NOBODY
            labels = (
                ("neuroncore", str(core)),
                ("runtime_tag", key.tag or ""),
                ("pid", "" if key.pid is None else str(key.pid)),
                *owner.labels(),
            )
            yield Spot(tuple(pair for pair in labels if pair[1]), owner, None)

    def _runtimes(self) -> Iterator[Spot]:
        for labels, (owner, node) in self._walk.nodes.items():
            yield Spot(labels, owner, node)

    def _devices(self) -> Iterator[Spot]:
        nodes: dict[int, DeviceNode] = {}
        counters = self.notes.usable(self._system.neuron_hw_counters, Group.HW_COUNTERS)
        for device in (counters.neuron_devices if counters else None) or ():
            if device is None or device.neuron_device_index is None:
                continue
            counted: dict[str, Rises] = self._counters.ecc(
                device.neuron_device_index,
                {
                    "mem_ecc_corrected": device.mem_ecc_corrected,
                    "mem_ecc_uncorrected": device.mem_ecc_uncorrected,
                    "sram_ecc_corrected": device.sram_ecc_corrected,
                    "sram_ecc_uncorrected": device.sram_ecc_uncorrected,
                },
            )
            nodes[device.neuron_device_index] = DeviceNode(
                ecc={event: rises.value for event, rises in counted.items()},
                ecc_start={event: rises.start for event, rises in counted.items()},
            )
        for index, used in self._memory_by_device().items():
            node = nodes.setdefault(index, DeviceNode())
            node.memory_used = used
            if self._device_memory:
                node.memory_utilization = min(1.0, used / self._device_memory)
        for index in sorted(nodes):
            yield Spot((("neuron_device_index", str(index)),), NOBODY, nodes[index])

    def _memory_by_device(self) -> dict[int, float]:
        """Bytes used on each device of which every core was read in every category."""
        each = self._hardware.neuroncore_per_device_count
        if not each:
            return {}
        categories = [sums.sums for sums in self._walk.memory.values()]
        used = {}
        for device in {core // each for core in categories[0]}:
            parts = [
                category.get(core)
                for core in range(device * each, (device + 1) * each)
                for category in categories
            ]
            if None not in parts:
                used[device] = sum(part for part in parts if part)
        return used


def _host_shares(average: CpuShares) -> dict[str, float] | None:
    """User and system shares of 1, added up and clipped as AWS's script does it."""
    parts = {
        "user": (average.user, average.nice),
        "system": (average.system, average.io_wait, average.irq, average.soft_irq),
    }
    shares = {
        name: min(1.0, sum(known) / 100)
        for name, part in parts.items()
        if len(known := [share for share in part if share is not None]) == len(part)
    }
    return shares or None
