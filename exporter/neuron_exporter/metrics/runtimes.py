"""Sums the runtimes of a report by core and by label set.

Every runtime lists every core of the machine, so the value of a core is the sum over runtimes.
A group that is missing or has an error was not read: its values are absent, not zero.
"""

from __future__ import annotations

import operator
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TypeVar

from msgspec import UNSET

from neuron_exporter.metrics.counters import Counters, NamedValues, RuntimeKey
from neuron_exporter.metrics.execution_gaps import Activity, ExecutionGaps
from neuron_exporter.metrics.group_status import GroupStatus
from neuron_exporter.metrics.latency import CompletedExecutions
from neuron_exporter.metrics.physical_cores import PhysicalKey
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    HOST_CATEGORIES,
    CoreSums,
    Quantities,
    add_each,
    max_optional,
    readable,
)
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.model import Entity, Group, Labels, Owners
from neuron_exporter.report.schema import (
    CoreCounters,
    CoreMemory,
    Report,
    Runtime,
    RuntimeReport,
    Section,
)
from neuron_exporter.source.watchdog import START_UP_PERIOD
from neuron_exporter.text import sanitize_text

MAX_RUNTIMES = 1024
"""Maximum number of runtimes of one report. A machine has at most 128 cores, and few processes
share one."""

MAX_CORES_LISTED = 20_000
"""Maximum number of cores that all runtimes of one report list in a group; 128 runtimes that each
list 128 cores have 16,384."""

_NO_GROUPS = RuntimeReport()
_UNREADABLE = Runtime()
_UNREAD_MEMORY = CoreMemory()
_UNREAD_CORE = CoreCounters()
_EMPTY: dict[str, float] = {}

_quantities = attrgetter(*CATEGORIES)
_host_quantities = attrgetter(*HOST_CATEGORIES)

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a report.

    Cores and runtimes outside of `scope` are ignored. The groups in `repeated` have the readings of
    an earlier report. A report may be shown for `fresh_for` seconds.
    """

    scope: TaskScope | None = None
    repeated: Set[str] = frozenset()
    fresh_for: float = 0.0

    def cores(self, by_core: dict[int, V]) -> dict[int, V]:
        """Return the entries of the cores in scope."""
        return by_core if self.scope is None else self.scope.cores(by_core)


@dataclass(slots=True)
class RuntimeSums:
    """Sums over the runtimes of one label set.

    Memory is in bytes, in the order of `LOCATIONS` and `HOST_CATEGORIES`. CPU use is in percent of
    the host's CPUs, in the order of `USAGES`. Latencies (s) are the highest of each percentile, and
    gaps (s) the longest. Mappings are replaced and never changed, because most start as one shared
    empty mapping.
    """

    entity: Entity
    memory: Quantities | None
    host_memory: Quantities | None
    vcpu: Quantities | None
    latency: dict[str, float]
    device_latency: dict[str, float]
    executions: tuple[CompletedExecutions, ...]
    gap: float | None = None
    longest_gap: float | None = None

    @classmethod
    def empty(cls, entity: Entity) -> RuntimeSums:
        """Return sums over no runtimes."""
        return cls(entity, None, None, None, _EMPTY, _EMPTY, ())


class RuntimeAggregation:
    """Sums over all runtimes of one report. Building it advances `counters` and `gaps`."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        gaps: ExecutionGaps,
        cache: SeriesCache,
        owners: Owners,
        status: GroupStatus,
        options: ReadOptions,
        now: float,
    ) -> None:
        self.utilization = CoreSums[int]()  # percent
        self.physical_utilization = CoreSums[PhysicalKey]()  # percent
        self.flops = CoreSums[int]()
        self.effective_flops = CoreSums[int]()
        self.memory: dict[int, Quantities] = {}
        self.memory_unread: set[int] = set()
        self.listed_cores: set[int] = set()
        self.core_runtimes: dict[tuple[int, RuntimeKey], None] = {}
        self.without_memory: set[RuntimeKey] = set()
        self.runtimes: dict[Labels, RuntimeSums] = {}

        self._counters = counters
        self._cache = cache
        self._status = status
        self._options = options
        runtimes = report.neuron_runtime_data
        # Null means that there are no runtimes, an absent key that the section was not read.
        self.was_read = was_read = runtimes is not UNSET
        self.cores_complete = self.memory_complete = was_read
        limited = limited_runtimes(report)
        if runtimes and len(runtimes) > len(limited):
            status.runtimes_dropped = len(runtimes) - len(limited)
            self.cores_complete = self.memory_complete = False
        self.keys: set[RuntimeKey] = set()
        activities: list[tuple[RuntimeSums, Activity]] = []
        scope = options.scope
        for entry in limited:
            runtime = entry or _UNREADABLE
            key = runtime_key(runtime)
            self.keys.add(key)
            if scope and not scope.includes(key, _used_cores(runtime)):
                continue
            shown = cache.resolve_owner(key, owners, partial(_used_cores, runtime), now)
            activities.append(self._read(runtime, key, cache.runtime(key), shown=shown))
        if was_read:
            self._add_gaps(gaps, activities, now)
            status.series_evicted = counters.retire_missing(self.keys, now)
            cache.retain_runtimes(self.keys)
            if scope:
                scope.retain_runtimes(self.keys)

    def _sums(self, entity: Entity) -> RuntimeSums:
        sums = self.runtimes.get(entity.labels)
        if sums is None:
            sums = self.runtimes[entity.labels] = RuntimeSums.empty(entity)
        return sums

    def _read(
        self, runtime: Runtime, key: RuntimeKey, entity: Entity, *, shown: bool
    ) -> tuple[RuntimeSums, Activity]:
        report = runtime.report or _NO_GROUPS
        if runtime.error:
            self._status.add_error("neuron_runtime", runtime.error)
            report = _NO_GROUPS
        else:
            self._status.groups_read.add("neuron_runtime")
        sums = self._sums(entity) if shown else RuntimeSums.empty(entity)
        active = self._read_cores(report, key)
        self._read_memory(report, key, sums)
        self._read_vcpu(report, sums)
        statuses, period = self._read_executions(report, key, sums, shown=shown)
        return sums, Activity(key, active, statuses, period)

    def _add_gaps(
        self, gaps: ExecutionGaps, activities: list[tuple[RuntimeSums, Activity]], now: float
    ) -> None:
        observed = gaps.observe(
            [activity for _, activity in activities],
            self.utilization.sums,
            now,
            max_pause=self._options.fresh_for,
        )
        for (sums, _), gap in zip(activities, observed, strict=True):
            sums.gap = max_optional(sums.gap, gap.current)
            sums.longest_gap = max_optional(sums.longest_gap, gap.longest)

    def _read_cores(self, report: RuntimeReport, key: RuntimeKey) -> list[int] | None:
        """Return the cores on which the runtime was busy or may have been; None if not read."""
        group = self._status.usable(report.neuroncore_counters, Group.NEURONCORE_COUNTERS)
        if group is None or group.neuroncores_in_use is None:
            self.cores_complete = False
            return None
        active = []
        # Most of a report are values for each core of each runtime, nearly all of them 0. Zeros
        # are only listed here, and filled in at the end.
        cores = readable(group.neuroncores_in_use)
        self.cores_complete &= cores is group.neuroncores_in_use
        cores = self._options.cores(cores)
        self.listed_cores.update(cores)
        first = next(iter(cores.values()), None) or _UNREAD_CORE
        # A device generation that does not report a rate shows none, not zero.
        self._cache.has_flops |= first.flops is not None
        self._cache.has_effective_flops |= first.effective_flops is not None
        physical = bool(first.v3d)
        for core, used in cores.items():
            percent = None if used is None else used.neuroncore_utilization
            if not percent and percent is not None:
                continue
            active.append(core)
            self.utilization.add(core, percent)
            used = used or _UNREAD_CORE
            self.flops.add(core, used.flops)
            self.effective_flops.add(core, used.effective_flops)
            physical = physical or bool(used.v3d)
            if percent is not None:
                self.core_runtimes[core, key] = None
        if physical or self._cache.physical_cores.entities:
            self._cache.physical_cores.read(cores, self.physical_utilization)
        return active

    def _read_memory(self, report: RuntimeReport, key: RuntimeKey, sums: RuntimeSums) -> None:
        group = self._status.usable(report.memory_used, Group.MEMORY_USED)
        used = group.neuron_runtime_used_bytes if group else None
        if used is not None:
            sums.memory = add_each(sums.memory, (used.host, used.neuron_device))
        breakdown = used.usage_breakdown if used else None
        if breakdown is not None and breakdown.host is not None:
            sums.host_memory = add_each(sums.host_memory, _host_quantities(breakdown.host))
        by_core = breakdown.neuroncore_memory_usage if breakdown else None
        if by_core is None:
            self.memory_complete = False
            self.without_memory.add(key)
            return
        cores = readable(by_core)
        self.memory_complete &= cores is by_core
        cores = self._options.cores(cores)
        for core, memory in cores.items():
            quantities: Quantities = _quantities(memory or _UNREAD_MEMORY)
            if None in quantities:
                self.memory_unread.add(core)
            if any(quantities):
                self.core_runtimes[core, key] = None
            others = self.memory.get(core)
            self.memory[core] = quantities if others is None else add_each(others, quantities)

    def _read_vcpu(self, report: RuntimeReport, sums: RuntimeSums) -> None:
        group = self._status.usable(report.neuron_runtime_vcpu_usage, Group.RUNTIME_VCPU_USAGE)
        if group is not None and group.vcpu_usage and has_cpu_shares(group):
            usage = group.vcpu_usage
            sums.vcpu = add_each(sums.vcpu, (usage.user, usage.system))

    def _read_executions(
        self, report: RuntimeReport, key: RuntimeKey, sums: RuntimeSums, *, shown: bool
    ) -> tuple[NamedValues | None, float | None]:
        """Return the executions by status, and the seconds that they cover; None if not read."""
        # Before SDK 2.4 the group had another name.
        group = report.execution_stats or report.inference_stats
        stats = self._status.usable(group, Group.EXECUTION_STATS)
        if stats is None:
            return None, None
        named = self._status.named
        summary = stats.execution_summary or stats.inference_summary
        statuses = named("execution_summary", summary, operator.add)
        errors = named("error_summary", stats.error_summary, operator.add)
        self._counters.add_executions(key, sums.entity, statuses, errors, shown=shown)
        latency = stats.latency_stats
        if latency is not None and (latency.total_latency or latency.device_latency):
            total = named("latency_stats", latency.total_latency, max)
            on_device = named("latency_stats", latency.device_latency, max)
            sums.latency = _highest(sums.latency, total)
            sums.device_latency = _highest(sums.device_latency, on_device)
            completed = statuses.get("completed") or 0.0
            sums.executions = (*sums.executions, CompletedExecutions(completed, total, on_device))
        return statuses, stats.period


def _used_cores(runtime: Runtime) -> set[int] | None:
    """Return the cores on which a runtime was busy or has memory; None if neither was read."""
    report = runtime.report
    if runtime.error or report is None:
        return None
    counters, memory = report.neuroncore_counters, report.memory_used
    busy = counters.neuroncores_in_use if counters and not counters.error else None
    used = memory.neuron_runtime_used_bytes if memory and not memory.error else None
    filled = used.usage_breakdown.neuroncore_memory_usage if used and used.usage_breakdown else None
    if busy is None and filled is None:
        return None
    cores = {
        core for core, each in readable(busy or {}).items() if each and each.neuroncore_utilization
    }
    return cores | {
        core for core, each in readable(filled or {}).items() if each and any(_quantities(each))
    }


def limited_runtimes(report: Report) -> list[Runtime | None]:
    """Return the first runtimes of a report, up to `MAX_RUNTIMES` and `MAX_CORES_LISTED`."""
    runtimes = (report.neuron_runtime_data or [])[:MAX_RUNTIMES]
    busy = filled = 0
    for position, runtime in enumerate(runtimes):
        groups = (runtime and runtime.report) or _NO_GROUPS
        counters, used = groups.neuroncore_counters, groups.memory_used
        busy += len((counters and counters.neuroncores_in_use) or ())
        bytes_used = used and used.neuron_runtime_used_bytes
        breakdown = bytes_used and bytes_used.usage_breakdown
        filled += len((breakdown and breakdown.neuroncore_memory_usage) or ())
        if max(busy, filled) > MAX_CORES_LISTED:
            return runtimes[:position]
    return runtimes


def runtime_key(runtime: Runtime) -> RuntimeKey:
    """Return the key of the process that an entry describes."""
    tag = runtime.neuron_runtime_tag
    if tag is None and runtime.neuron_runtime_index is not None:
        tag = str(runtime.neuron_runtime_index)  # in place of a tag before SDK 1.16
    # Keys are kept after the process has exited, and so must be short.
    return RuntimeKey(runtime.pid, tag and sanitize_text(tag))


def has_cpu_shares(section: Section) -> bool:
    """Return whether the period is long enough for CPU shares; a first report covers only ms."""
    return section.period is None or section.period >= START_UP_PERIOD


def _without_none(values: NamedValues) -> dict[str, float]:
    if None not in values.values():  # the usual case
        return values  # type: ignore[return-value]
    return {name: value for name, value in values.items() if value is not None}


def _highest(so_far: dict[str, float], values: NamedValues) -> dict[str, float]:
    """Return the higher value of each name."""
    read = _without_none(values)
    return {**so_far, **{n: max(so_far.get(n, v), v) for n, v in read.items()}} if so_far else read
