"""Aggregates one report into a table for each kind of entity.

Core utilization is computed here: `runtimes.py` sums the percentages of all runtimes by core,
`_fill_idle_cores` adds the idle cores, and `_cores` caps the sums at 1.
"""

from __future__ import annotations

from collections.abc import Set
from operator import attrgetter

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.facts.report_names import ECC_EVENTS
from neuron_exporter.metrics.aws_layout import runtime_cores
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.device_table import device_table
from neuron_exporter.metrics.driver_readings import DriverReadings
from neuron_exporter.metrics.ecc_counters import Readings
from neuron_exporter.metrics.execution_gaps import ExecutionGaps
from neuron_exporter.metrics.group_status import GroupStatus
from neuron_exporter.metrics.inventory import Inventory
from neuron_exporter.metrics.runtimes import (
    ReadOptions,
    RuntimeAggregation,
    has_cpu_shares,
)
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    HOST_CATEGORIES,
    LOCATIONS,
    NO_MEMORY,
    USAGES,
    columns_by_name,
    host_shares,
    readable,
    shares,
)
from neuron_exporter.metrics.tables import (
    ENTITY_LABELS,
    CoreTable,
    CpuTable,
    DeviceTable,
    MachineTable,
    PhysicalCoreTable,
    RuntimeTable,
    RuntimeTotalsTable,
    Table,
    device_info_table,
    facts_table,
    version_table,
)
from neuron_exporter.model import Entity, EntityKind, Group, Machine, Owners
from neuron_exporter.report.schema import (
    UNREADABLE,
    HardwareInfo,
    MemoryInfo,
    Report,
    SystemData,
    VcpuUsage,
)

_MACHINE = [Entity(())]

_ecc_readings = attrgetter(*ECC_EVENTS)


class ReportAggregation:
    """Values of one report by kind of entity. Building it advances `counters` and `gaps`."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        gaps: ExecutionGaps,
        *,
        machine: Machine,
        owners: Owners,
        cache: SeriesCache,
        inventory: Inventory,
        driver: DriverReadings,
        options: ReadOptions,
        now: float,
    ) -> None:
        self.status = GroupStatus()
        self._report = report
        self._counters = counters
        self._machine_identity = machine
        self._owners = owners
        self._cache = cache
        self._inventory = inventory
        self._driver = driver
        self._options = options
        self._instance_type = INSTANCE_TYPES.get(machine.instance_type)
        self._read_info(report)
        system = report.system_data or SystemData()
        usable = self.status.usable
        self._hw_counters = usable(system.neuron_hw_counters, Group.HW_COUNTERS)
        self._memory = usable(system.memory_info, Group.MEMORY_INFO) or MemoryInfo()
        self._cpu = usable(system.vcpu_usage, Group.VCPU_USAGE) or VcpuUsage()
        if self._cpu.context_switch_count is not None:
            counters.add_context_switches(self._cpu.context_switch_count)
        self._has_cpu_shares = has_cpu_shares(self._cpu)
        self._runtimes = RuntimeAggregation(
            report, counters, gaps, cache, owners, self.status, options, now
        )
        if owners.process_labels is not None and self._runtimes.was_read:
            cache.label_cores(
                self._runtimes.core_runtimes,
                self._runtimes.without_memory,
                inventory.cores_per_device,
            )
        self._cores_present = self._existing_cores()
        self._fill_idle_cores()

    def _read_info(self, report: Report) -> None:
        """Read the hardware section, and record the status of the sections that are not groups."""
        for name, section in (
            ("neuron_hardware_info", report.neuron_hardware_info),
            ("neuron_k8s_info", report.neuron_k8s_info),
            ("instance_info", report.instance_info or report.instance_data),
        ):
            if section is not None and section.error:
                self.status.add_error(name, section.error)
            elif section is not None:
                self.status.groups_read.add(name)
        hardware = report.neuron_hardware_info
        self._hardware = HardwareInfo() if hardware is None or hardware.error else hardware

    @property
    def processes(self) -> frozenset[int] | None:
        """Pids of all runtimes in the report; None if it has no section of runtimes."""
        if not self._runtimes.was_read:
            return None
        return frozenset(key.pid for key in self._runtimes.keys if key.pid is not None)

    @property
    def used_cores(self) -> frozenset[int]:
        """Cores that any runtime uses."""
        return frozenset(core for core, _ in self._runtimes.core_runtimes)

    def table(self, kind: EntityKind) -> Table:
        """Return the table of a kind. Call it once per kind, since it counts ECC events."""
        match kind:
            case EntityKind.MACHINE:
                return self._machine()
            case EntityKind.HARDWARE | EntityKind.HARDWARE_COUNTS:
                return facts_table(self._hardware, ENTITY_LABELS[kind])
            case EntityKind.DRIVER:
                return version_table(self._machine_identity.driver_version)
            case EntityKind.TOOLS:
                return version_table(self._machine_identity.tools_version)
            case EntityKind.CPU:
                return self._cpus()
            case EntityKind.CORE:
                return self._cores()
            case EntityKind.PHYSICAL_CORE:
                return self._physical_cores()
            case EntityKind.RUNTIME_CORE:
                return runtime_cores(self._report, self._cache)
            case EntityKind.DEVICE:
                return self._devices()
            case EntityKind.DEVICE_INFO:
                return device_info_table(self._driver.serial_numbers)
            case EntityKind.RUNTIME:
                return self._runtime_table()
            case EntityKind.RUNTIME_TOTALS:
                return self._runtime_totals()
            case EntityKind.CORE_RUNTIME:
                core_runtime, pairs = self._cache.core_runtime, self._runtimes.core_runtimes
                entities = (core_runtime(core, key) for core, key in pairs)
                return Table(list({entity.labels: entity for entity in entities}.values()))

    def _fill_idle_cores(self) -> None:
        """Set the cores that no runtime uses to 0 if every runtime could be read.

        Each runtime lists all cores, so a core is idle only if all runtimes list it at 0. Rates of
        idle cores are 0 too, provided that the source reports rates at all.
        """
        runtimes, cache, cores = self._runtimes, self._cache, self._cores_present
        if runtimes.cores_complete:
            runtimes.utilization.fill_zeros(cores)
            runtimes.physical_utilization.fill_zeros(
                key for key in cache.physical_cores.entities if key[0] in cores
            )
            if cache.has_flops:
                runtimes.flops.fill_zeros(cores)
            if cache.has_effective_flops:
                runtimes.effective_flops.fill_zeros(cores)
        shown = cores if runtimes.memory_complete else ()
        memory = {
            core: quantities
            for core, quantities in runtimes.memory.items()
            if core in shown or any(quantities)
        }
        runtimes.memory = {**dict.fromkeys(shown, NO_MEMORY), **memory}

    def _existing_cores(self) -> Set[int]:
        """Return the cores that exist, in scope."""
        scope = self._options.scope
        cores = self._inventory.cores(
            self._runtimes.listed_cores | self._runtimes.memory.keys(),
            self.used_cores,
            numbered_from_zero=scope is None or scope.numbered_from_zero,
        )
        return cores if scope is None else set(filter(scope.has_core, cores))

    def _cores(self) -> CoreTable:
        runtimes, memory = self._runtimes, self._runtimes.memory
        read = {*runtimes.utilization.sums, *runtimes.effective_flops.sums, *memory}
        allocated = self._owners.allocated_cores
        shown = read if allocated is None else read | self._cores_present
        errors = self._driver.core_errors()
        cores = sorted(shown | errors.keys())
        return CoreTable(
            [self._cache.core(core, self._owners) for core in cores],
            **columns_by_name(CATEGORIES, map(memory.get, cores)),
            utilization=shares(map(runtimes.utilization.sums.get, cores)),
            flops=list(map(runtimes.flops.sums.get, cores)),
            effective_flops=list(map(runtimes.effective_flops.sums.get, cores)),
            allocated=[
                None if allocated is None or core not in shown else float(core in allocated)
                for core in cores
            ],
            hardware_errors=self._cache.columns(
                "hardware_errors", [errors.get(core, {}) for core in cores]
            ),
        )

    def _physical_cores(self) -> PhysicalCoreTable:
        percents = self._runtimes.physical_utilization.sums
        shown = {
            key: entity
            for key, entity in self._cache.physical_cores.entities.items()
            if percents.get(key) or (key in percents and key[0] in self._cores_present)
        }
        return PhysicalCoreTable(list(shown.values()), utilization=shares(map(percents.get, shown)))

    def _runtime_table(self) -> RuntimeTable:
        sums = list(self._runtimes.runtimes.values())
        columns = self._cache.columns
        return RuntimeTable(
            [each.entity for each in sums],
            memory=columns_by_name(LOCATIONS, [each.memory for each in sums]),
            host_memory=columns_by_name(HOST_CATEGORIES, [each.host_memory for each in sums]),
            vcpu={
                usage: [None if percent is None else percent / 100 for percent in column]
                for usage, column in columns_by_name(USAGES, [each.vcpu for each in sums]).items()
            },
            latency=columns("latency", [each.latency for each in sums]),
            device_latency=columns("device_latency", [each.device_latency for each in sums]),
            executions=[each.executions for each in sums],
            gap=[each.gap for each in sums],
            longest_gap=[each.longest_gap for each in sums],
        )

    def _runtime_totals(self) -> RuntimeTotalsTable:
        totals = self._counters.by_entity
        columns = self._cache.columns
        return RuntimeTotalsTable(
            [entity for entity, _ in totals],
            statuses=columns("statuses", [each.statuses for _, each in totals]),
            errors=columns("errors", [each.errors for _, each in totals]),
            generic_errors=[each.generic for _, each in totals],
        )

    def _machine(self) -> MachineTable:
        totals = self._counters.totals
        cpus = self._cpu.usage_data or {}
        vcpu = host_shares(self._cpu.average_usage if self._has_cpu_shares else None)
        memory = self._memory
        total, used = memory.memory_total_bytes, memory.memory_used_bytes
        devices = self._inventory.devices_of(self._cores_present)
        return MachineTable(
            _MACHINE,
            statuses={name: [total] for name, total in totals.statuses.items()},
            errors={name: [total] for name, total in totals.errors.items()},
            cores_in_use=[self._cores_in_use()],
            devices_expected=[self._devices_expected(devices)],
            devices_present=[devices],
            vcpu={name: [vcpu.get(name)] for name in USAGES},
            vcpu_utilization=[min(1.0, sum(vcpu.values())) if len(vcpu) == 2 else None],
            context_switches=[self._counters.context_switches],
            vcpu_count=[float(len(cpus)) if cpus and UNREADABLE not in cpus else None],
            memory_total=[total],
            memory_used=[used],
            memory_utilization=[min(1.0, used / total) if total and used is not None else None],
            swap_total=[memory.swap_total_bytes],
            swap_used=[memory.swap_used_bytes],
        )

    def _cores_in_use(self) -> float | None:
        utilization = self._runtimes.utilization
        if not self._runtimes.cores_complete or utilization.unread or not utilization.sums:
            return None
        return float(sum(map(bool, utilization.sums.values())))

    def _devices_expected(self, present: int | None) -> float | None:
        """Return the number of devices that there should be; None if it, or the number that is
        present, is unknown."""
        if present is None:
            return None
        if self._options.scope is not None:
            return self._options.scope.device_count
        expected = None if self._instance_type is None else self._instance_type.devices
        if expected is None or present >= expected:
            return expected
        own = self._inventory.container_devices()
        return expected if own is None else min(own, expected)

    def _cpus(self) -> CpuTable:
        cpus = readable((self._cpu.usage_data if self._has_cpu_shares else None) or {})
        vcpus = [host_shares(cpu) for cpu in cpus.values()]
        return CpuTable(
            [Entity((("cpu", str(cpu)),)) for cpu in cpus],
            vcpu={name: [each.get(name) for each in vcpus] for name in USAGES},
        )

    def _devices(self) -> DeviceTable:
        listed = self._hw_counters.neuron_devices if self._hw_counters else None
        readings: dict[int, Readings] = {
            device.neuron_device_index: _ecc_readings(device)
            for device in listed or ()
            if device is not None and device.neuron_device_index is not None
        }
        if Group.HW_COUNTERS not in self._options.repeated:
            self._counters.ecc.observe(readings)
        size = self._hardware.neuron_device_memory_size
        if not size and self._instance_type is not None:
            size = self._instance_type.device_memory_bytes
        ecc, used = self._counters.ecc.counts, self._memory_by_device()
        return device_table(readings, ecc, used, size, self._driver, self._cache, self._owners)

    def _memory_by_device(self) -> dict[int, float]:
        """Return the bytes used on each device whose cores were all read in every category."""
        per_device = self._inventory.cores_per_device
        if not per_device or not self._runtimes.memory_complete:
            return {}
        read: dict[int, list[float]] = {}
        for core, quantities in self._runtimes.memory.items():
            if core not in self._runtimes.memory_unread:
                used = sum(quantities)  # type: ignore[arg-type]
                read.setdefault(core // per_device, []).append(used)
        return {device: sum(cores) for device, cores in read.items() if len(cores) == per_device}
