"""Walks a report place by place: the walkers say where a value belongs, the rows what it is."""

from __future__ import annotations

from operator import attrgetter
from typing import TypeVar

from exporter.facts.instance_types import INSTANCE_TYPES
from exporter.metrics.counters import ECC_EVENTS, Counters, EccCounts
from exporter.metrics.known import Known
from exporter.metrics.latency import distribution
from exporter.metrics.runtimes import (
    CATEGORIES,
    NO_MEMORY,
    UNREAD_MEMORY,
    Notes,
    Rules,
    RuntimeWalk,
    long_enough,
)
from exporter.metrics.tables import (
    LABELS,
    CoreTable,
    DeviceTable,
    MachineTable,
    RuntimeTable,
    Spot,
    Table,
)
from exporter.model import Group, Machine, Owners, Place
from exporter.report.types import CpuShares, HardwareInfo, MemoryInfo, Report, SystemData

N = TypeVar("N")

_THIS_MACHINE = [Spot(())]
_NO_ECC = EccCounts((None,) * len(ECC_EVENTS), (0.0,) * len(ECC_EVENTS))

_ecc_readings = attrgetter(*ECC_EVENTS)


class Survey:
    """Everything that one report says, by place. Made once a report; `counters` are advanced."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        *,
        machine: Machine,
        owners: Owners,
        known: Known,
        rules: Rules,
        now: float,
    ) -> None:
        self.notes = Notes()
        self._counters = counters
        self._owners = owners
        self._known = known
        self._rules = rules
        self._system = report.system_data or SystemData()
        hardware = report.neuron_hardware_info
        if hardware is not None and hardware.error:
            self.notes.add("neuron_hardware_info", hardware.error)
            hardware = None
        elif hardware is not None:
            self.notes.read.add("neuron_hardware_info")
        self._hardware = hardware or HardwareInfo()
        self._device_memory = self._hardware.neuron_device_memory_size
        if not self._device_memory and machine.instance_type in INSTANCE_TYPES:
            self._device_memory = INSTANCE_TYPES[machine.instance_type].device_memory_bytes
        self._walk = RuntimeWalk(report, counters, known, owners, self.notes, rules, now)
        # A generation that does not tell the rate shows none, not zero.
        known.flops = known.flops or bool(self._walk.flops.sums)
        self._fill_idle_cores()

    def table(self, place: Place) -> Table:
        """What is known of a place. Ask once for each place: to ask is to count."""
        match place:
            case Place.MACHINE:
                return self._machine()
            case Place.HARDWARE:
                return self._hardware_table()
            case Place.CORE:
                return self._cores()
            case Place.DEVICE:
                return self._devices()
            case Place.RUNTIME:
                return self._runtimes()
            case Place.HOLDER:
                return self._holders()

    def _fill_idle_cores(self) -> None:
        """A core that is not busy is idle where every runtime could be read: each lists all cores,
        so that one runtime's 0 says nothing of another. An idle core's rate is 0 too, where the
        source tells of rates.
        """
        hardware, walk = self._hardware, self._walk
        cores = range(
            (hardware.neuron_device_count or 0) * (hardware.neuroncore_per_device_count or 0)
        )
        if walk.cores_complete:
            idle = walk.listed.union(cores)
            walk.busy.fill(idle)
            if self._known.flops:
                walk.flops.fill(idle)
        if walk.memory_complete:
            for core in cores:
                walk.memory.setdefault(core, NO_MEMORY)
        else:
            walk.memory = {core: amounts for core, amounts in walk.memory.items() if any(amounts)}

    def _cores(self) -> CoreTable:
        busy, flops, memory = self._walk.busy.sums, self._walk.flops.sums, self._walk.memory
        cores = sorted(busy.keys() | flops.keys() | memory.keys())
        by_category = zip(*(memory.get(core, UNREAD_MEMORY) for core in cores), strict=True)
        return CoreTable(
            [self._known.core(core, self._owners) for core in cores],
            [
                None if (share := busy.get(core)) is None else min(1.0, share / 100)
                for core in cores
            ],
            [flops.get(core) for core in cores],
            *(map(list, by_category) if cores else ([] for _ in CATEGORIES)),
        )

    def _holders(self) -> Table:
        known, owners = self._known, self._owners
        return Table([known.holder(core, key, owners) for core, key in self._walk.holders])

    def _runtimes(self) -> RuntimeTable:
        sums = list(self._walk.runtimes.values())
        columns = self._known.columns
        return RuntimeTable(
            [each.spot for each in sums],
            memory=columns("memory", [each.memory for each in sums]),
            vcpu=columns("vcpu", [each.vcpu for each in sums]),
            statuses=columns("statuses", [each.tallies.statuses for each in sums]),
            errors=columns("errors", [each.tallies.errors for each in sums]),
            latency=columns("latency", [each.latency for each in sums]),
            device_latency=columns("device_latency", [each.device_latency for each in sums]),
        )

    def _machine(self) -> MachineTable:
        done = self._walk.executions
        totals = self._counters.totals
        cpu = self.notes.usable(self._system.vcpu_usage, Group.VCPU_USAGE)
        shares: dict[str, float] = {}
        if cpu is not None and cpu.average_usage is not None and long_enough(cpu, self._rules):
            shares = _host_shares(cpu.average_usage)
        memory = self.notes.usable(self._system.memory_info, Group.MEMORY_INFO) or MemoryInfo()
        total, used = memory.memory_total_bytes, memory.memory_used_bytes
        return MachineTable(
            _THIS_MACHINE,
            statuses={name: [total] for name, total in totals.statuses.items()},
            errors={name: [total] for name, total in totals.errors.items()},
            cores_in_use=[self._cores_in_use()],
            latency=[distribution((each.completed, each.total) for each in done)],
            device_latency=[distribution((each.completed, each.device) for each in done)],
            vcpu={name: [shares.get(name)] for name in ("user", "system")},
            vcpu_utilization=[min(1.0, sum(shares.values())) if len(shares) == 2 else None],
            vcpu_count=[float(len(cpu.usage_data)) if cpu and cpu.usage_data else None],
            memory_total=[total],
            memory_used=[used],
            memory_utilization=[min(1.0, used / total) if total and used is not None else None],
            swap_total=[memory.swap_total_bytes],
            swap_used=[memory.swap_used_bytes],
        )

    def _cores_in_use(self) -> float | None:
        walk = self._walk
        if not walk.cores_complete or walk.busy.unread or not walk.busy.sums:
            return None
        return float(sum(map(bool, walk.busy.sums.values())))

    def _hardware_table(self) -> Table:
        numbers = ((name, getattr(self._hardware, name)) for name in LABELS[Place.HARDWARE])
        labels = tuple((name, str(int(number))) for name, number in numbers if number is not None)
        return Table([Spot(labels)] if labels else [])

    def _devices(self) -> DeviceTable:
        counters = self.notes.usable(self._system.neuron_hw_counters, Group.HW_COUNTERS)
        ecc = {
            device.neuron_device_index: self._counters.ecc(
                device.neuron_device_index, _ecc_readings(device)
            )
            for device in (counters.neuron_devices if counters else None) or ()
            if device is not None and device.neuron_device_index is not None
        }
        used = self._memory_by_device()
        devices = sorted(ecc.keys() | used.keys())
        counts = [ecc.get(device, _NO_ECC) for device in devices]
        size = self._device_memory
        return DeviceTable(
            [self._known.device(device) for device in devices],
            ecc=_by_event([each.values for each in counts]),
            ecc_start=_by_event([each.starts for each in counts]),
            memory_used=[used.get(device) for device in devices],
            memory_utilization=[
                min(1.0, used[device] / size) if size and device in used else None
                for device in devices
            ],
        )

    def _memory_by_device(self) -> dict[int, float]:
        """Bytes used on each device of which every core was read in every category."""
        each = self._hardware.neuroncore_per_device_count
        if not each or not self._walk.memory_complete:
            return {}
        read: dict[int, list[float]] = {}
        for core, amounts in self._walk.memory.items():
            if None not in amounts:
                read.setdefault(core // each, []).append(sum(amounts))  # type: ignore[arg-type]
        return {device: sum(cores) for device, cores in read.items() if len(cores) == each}


def _by_event(counts: list[tuple[N, ...]]) -> dict[str, list[N]]:
    """The devices' counters, by event type."""
    return {event: [each[at] for each in counts] for at, event in enumerate(ECC_EVENTS)}


def _host_shares(average: CpuShares) -> dict[str, float]:
    """User and system shares of 1, added up and clipped as AWS's script does it."""
    parts = {
        "user": (average.user, average.nice),
        "system": (average.system, average.io_wait, average.irq, average.soft_irq),
    }
    return {
        name: min(1.0, sum(known) / 100)
        for name, part in parts.items()
        if len(known := [share for share in part if share is not None]) == len(part)
    }
