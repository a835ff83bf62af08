"""Walks a report place by place: the walkers say where a value belongs, the rows what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.metrics.aws_layout import runtime_cores
from neuron_exporter.metrics.counters import ECC_EVENTS, Counters, EccCounts, Readings
from neuron_exporter.metrics.latency import distribution
from neuron_exporter.metrics.runtimes import (
    Executions,
    Notes,
    Rules,
    RuntimeSums,
    RuntimeWalk,
    long_enough,
)
from neuron_exporter.metrics.series_cache import Known
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    HOST_CATEGORIES,
    LOCATIONS,
    NO_MEMORY,
    USAGES,
    by_name,
)
from neuron_exporter.metrics.tables import (
    LABELS,
    CoreTable,
    CpuTable,
    DeviceTable,
    MachineTable,
    PhysicalCoreTable,
    RuntimeTable,
    Table,
)
from neuron_exporter.model import Column, Distribution, Group, Machine, Owners, Place, Spot
from neuron_exporter.report.schema import (
    CpuShares,
    HardwareInfo,
    MemoryInfo,
    Report,
    SystemData,
    VcpuUsage,
)
from neuron_exporter.text import clean

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
        self._report = report
        self._machine_known = machine
        self._task = rules.task
        system = report.system_data or SystemData()
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
        for name, section in (
            ("neuron_k8s_info", report.neuron_k8s_info),
            ("instance_info", report.instance_info or report.instance_data),
        ):
            if section is not None and section.error:
                self.notes.add(name, section.error)
            elif section is not None:
                self.notes.read.add(name)
        usable = self.notes.usable
        self._hw_counters = usable(system.neuron_hw_counters, Group.HW_COUNTERS)
        self._memory = usable(system.memory_info, Group.MEMORY_INFO) or MemoryInfo()
        self._cpu = usable(system.vcpu_usage, Group.VCPU_USAGE) or VcpuUsage()
        if self._cpu.context_switch_count is not None:
            counters.count_context_switches(self._cpu.context_switch_count)
        self._shares_count = long_enough(self._cpu, rules)
        walk = self._walk = RuntimeWalk(report, counters, known, owners, self.notes, rules, now)
        known.learn_physical(walk.physical.sums)
        self._fill_idle_cores()

    @property
    def processes(self) -> frozenset[int]:
        """The processes that hold cores, or might."""
        return frozenset(key.pid for key in self._walk.keys if key.pid is not None)

    @property
    def held(self) -> frozenset[int]:
        """The cores that some process holds."""
        return frozenset(core for core, _ in self._walk.holders)

    def table(self, place: Place) -> Table:
        """What is known of a place. Ask once for each place: to ask is to count."""
        match place:
            case Place.MACHINE:
                return self._machine()
            case Place.HARDWARE | Place.HARDWARE_COUNTS:
                return self._hardware_table(LABELS[place])
            case Place.DRIVER:
                return _version(self._machine_known.driver_version)
            case Place.TOOLS:
                return _version(self._machine_known.tools_version)
            case Place.CPU:
                return self._cpus()
            case Place.CORE:
                return self._cores()
            case Place.PHYSICAL_CORE:
                return self._physical_cores()
            case Place.RUNTIME_CORE:
                return runtime_cores(self._report, self._known)
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
        walk, cores = self._walk, self._all_cores
        if walk.cores_complete:
            idle = walk.listed.union(self._mine(cores))
            walk.busy.fill(idle)
            walk.physical.fill(self._known.physical)
            if self._known.flops:
                walk.flops.fill(idle)
            if self._known.effective_flops:
                walk.effective_flops.fill(idle)
        if walk.memory_complete:
            for core in self._mine(cores):
                walk.memory.setdefault(core, NO_MEMORY)
        else:
            walk.memory = {core: amounts for core, amounts in walk.memory.items() if any(amounts)}

    @property
    def _all_cores(self) -> range:
        """The cores of the machine; none while the report does not count them."""
        hardware = self._hardware
        return range(
            (hardware.neuron_device_count or 0) * (hardware.neuroncore_per_device_count or 0)
        )

    def _mine(self, cores: Iterable[int]) -> Iterable[int]:
        task = self._task
        return cores if task is None else filter(task.has, cores)

    def _cores(self) -> CoreTable:
        walk, memory = self._walk, self._walk.memory
        read = walk.busy.sums.keys() | walk.effective_flops.sums.keys() | memory.keys()
        given = self._owners.allocated
        cores = sorted(read if given is None else read.union(self._mine(self._all_cores)))
        return CoreTable(
            [self._known.core(core, self._owners) for core in cores],
            **by_name(CATEGORIES, map(memory.get, cores)),
            utilization=_shares(map(walk.busy.sums.get, cores)),
            flops=list(map(walk.flops.sums.get, cores)),
            effective_flops=list(map(walk.effective_flops.sums.get, cores)),
            allocated=[None if given is None else float(core in given) for core in cores],
        )

    def _physical_cores(self) -> PhysicalCoreTable:
        busy = self._walk.physical.sums
        return PhysicalCoreTable(
            [
                Spot((("neuroncore", str(core)), ("physical_neuroncore", _physical(name))))
                for core, name in busy
            ],
            utilization=_shares(busy.values()),
        )

    def _holders(self) -> Table:
        return Table([self._known.holder(core, key) for core, key in self._walk.holders])

    def _runtimes(self) -> RuntimeTable:
        sums = list(self._walk.runtimes.values())
        columns = self._known.columns
        return RuntimeTable(
            [each.spot for each in sums],
            memory=by_name(LOCATIONS, [each.memory for each in sums]),
            host_memory=by_name(HOST_CATEGORIES, [each.host_memory for each in sums]),
            vcpu={
                usage: [None if percent is None else percent / 100 for percent in column]
                for usage, column in by_name(USAGES, [each.vcpu for each in sums]).items()
            },
            statuses=columns("statuses", [each.tallies.statuses for each in sums]),
            errors=columns("errors", [each.tallies.errors for each in sums]),
            generic_errors=[each.tallies.generic for each in sums],
            latency=columns("latency", [each.latency for each in sums]),
            device_latency=columns("device_latency", [each.device_latency for each in sums]),
            latencies=_distributions(sums, attrgetter("total")),
            device_latencies=_distributions(sums, attrgetter("device")),
        )

    def _machine(self) -> MachineTable:
        totals = self._counters.totals
        cpus = self._cpu.usage_data
        shares = _host_shares(self._cpu.average_usage if self._shares_count else None)
        memory = self._memory
        total, used = memory.memory_total_bytes, memory.memory_used_bytes
        return MachineTable(
            _THIS_MACHINE,
            statuses={clean(name): [total] for name, total in totals.statuses.items()},
            errors={clean(name): [total] for name, total in totals.errors.items()},
            cores_in_use=[self._cores_in_use()],
            vcpu={name: [shares.get(name)] for name in ("user", "system")},
            vcpu_utilization=[min(1.0, sum(shares.values())) if len(shares) == 2 else None],
            context_switches=[self._counters.context_switches],
            vcpu_count=[float(len(cpus)) if cpus else None],
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

    def _cpus(self) -> CpuTable:
        cpus = self._cpu.usage_data if self._shares_count else None
        shares = [_host_shares(cpu) for cpu in (cpus or {}).values()]
        return CpuTable(
            [Spot((("cpu", str(cpu)),)) for cpu in cpus or ()],
            vcpu={name: [each.get(name) for each in shares] for name in ("user", "system")},
        )

    def _hardware_table(self, names: tuple[str, ...]) -> Table:
        facts = ((name, getattr(self._hardware, name)) for name in names)
        labels = tuple(
            (name, clean(fact) if isinstance(fact, str) else str(int(fact)))
            for name, fact in facts
            if fact not in (None, "")
        )
        return Table([Spot(labels)] if labels else [])

    def _devices(self) -> DeviceTable:
        listed = self._hw_counters.neuron_devices if self._hw_counters else None
        readings: dict[int, tuple[float | None, ...]] = {
            device.neuron_device_index: _ecc_readings(device)
            for device in listed or ()
            if device is not None and device.neuron_device_index is not None
        }
        ecc = {device: self._counters.ecc(device, read) for device, read in readings.items()}
        used = self._memory_by_device()
        devices = sorted(ecc.keys() | used.keys())
        counts = [ecc.get(device, _NO_ECC) for device in devices]
        size = self._device_memory
        return DeviceTable(
            [self._known.device(device, self._owners) for device in devices],
            ecc_reading=_by_event([readings.get(device, _NO_ECC.values) for device in devices]),
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
            if core not in self._walk.memory_unread:
                read.setdefault(core // each, []).append(sum(amounts))  # type: ignore[arg-type]
        return {device: sum(cores) for device, cores in read.items() if len(cores) == each}


def _distributions(
    runtimes: Iterable[RuntimeSums], percentiles: Callable[[Executions], Readings | None]
) -> list[Distribution | None]:
    """How long the executions of each took (s)."""
    return [
        distribution((done.completed, percentiles(done)) for done in each.executions)
        if each.executions
        else None
        for each in runtimes
    ]


def _by_event(counts: list[tuple[N, ...]]) -> dict[str, list[N]]:
    """The devices' counters, by event type."""
    return {event: [each[at] for each in counts] for at, event in enumerate(ECC_EVENTS)}


def _shares(percents: Iterable[float | None]) -> Column:
    """Shares of 1: a core cannot be busy for longer than the period."""
    return [None if percent is None else min(1.0, percent / 100) for percent in percents]


def _physical(name: str) -> str:
    """The number at the end of a physical core's name, `nc_v3.7`, or the name without one."""
    number = name.rpartition(".")[2]
    return number if number.isascii() and number.isdigit() else clean(name)


def _version(version: str) -> Table:
    return Table([Spot((("version", version),))] if version else [])


def _host_shares(cpu: CpuShares | None) -> dict[str, float]:
    """User and system shares of 1, added up and clipped as AWS's script does it."""
    if cpu is None:
        return {}
    parts = {
        "user": (cpu.user, cpu.nice),
        "system": (cpu.system, cpu.io_wait, cpu.irq, cpu.soft_irq),
    }
    return {
        name: min(1.0, sum(known) / 100)
        for name, part in parts.items()
        if len(known := [share for share in part if share is not None]) == len(part)
    }
