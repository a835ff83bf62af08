"""Walks the runtimes of a report and sums what they say of each core.

A runtime lists every core of the machine, so a core's truth is the sum over runtimes. A group that
is missing or carries an error was not read, and what nobody read is absent, not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeVar

from msgspec import UNSET

from neuron_exporter.metrics.counters import Counters, Readings, RuntimeKey, Tallies
from neuron_exporter.metrics.series_cache import Known, PhysicalKey
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    HOST_CATEGORIES,
    Amounts,
    Sums,
    plus_each,
    readable,
)
from neuron_exporter.metrics.task_scope import Task
from neuron_exporter.model import Group, Labels, Owners, Spot
from neuron_exporter.report.schema import (
    CoreCounters,
    CoreMemory,
    Report,
    Runtime,
    RuntimeReport,
    Section,
)

MOST_RUNTIMES = 1024
"""Runtimes of one report; a machine has at most 128 cores, and few processes share one."""

_NOTHING = RuntimeReport()
_UNREADABLE = Runtime()
_UNREAD = CoreMemory()
_UNREAD_CORE = CoreCounters()
_UNCOUNTED = Tallies()
_EMPTY: dict[str, float] = {}


_amounts = attrgetter(*CATEGORIES)
_host_amounts = attrgetter(*HOST_CATEGORIES)

V = TypeVar("V")
S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Rules:
    """How to read a report: a period (s) that is shorter says nothing of CPU shares, and what is
    not the `task`'s is left out."""

    shortest_period: float = 0.0
    task: Task | None = None

    def cores(self, by_core: dict[int, V]) -> dict[int, V]:
        """The entries of the cores that count."""
        return by_core if self.task is None else self.task.cores(by_core)


class Notes:
    """Collects the groups that could be read, and those that carry an error."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.left_out = 0
        self.counts: dict[str, int] = {}
        self.texts: dict[str, str] = {}

    def add(self, group: str, text: str) -> None:
        """Note one group's error."""
        self.counts[group] = self.counts.get(group, 0) + 1
        self.texts[group] = text

    def usable(self, section: S | None, name: Group) -> S | None:
        """The section, unless it is missing or an error says that its values are no readings."""
        if section is not None and section.error:
            self.add(name, section.error)
            return None
        if section is not None:
            self.read.add(name)
        return section


@dataclass(slots=True)
class RuntimeSums:
    """What the runtimes with one label set use: bytes in the order of `LOCATIONS` and of
    `HOST_CATEGORIES`, percent of the host's CPUs in that of `USAGES`, highest percentiles (s).

    Its mappings are replaced and never changed: most start as the one empty mapping.
    """

    spot: Spot
    memory: Amounts | None
    host_memory: Amounts | None
    vcpu: Amounts | None
    latency: dict[str, float]
    device_latency: dict[str, float]
    executions: tuple[Executions, ...]
    tallies: Tallies

    @classmethod
    def none(cls, spot: Spot) -> RuntimeSums:
        """Of runtimes of which nothing is known yet."""
        return cls(spot, None, None, None, _EMPTY, _EMPTY, (), _UNCOUNTED)


class Executions(NamedTuple):
    """What one process completed in a period, and its latency percentiles (s)."""

    completed: float
    total: Readings | None
    device: Readings | None


class RuntimeWalk:
    """What all runtimes of one report say. `counters` are advanced by it, once."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        known: Known,
        owners: Owners,
        notes: Notes,
        rules: Rules,
        now: float,
    ) -> None:
        self.busy = Sums[int]()  # percent, as the next
        self.physical = Sums[PhysicalKey]()
        self.flops = Sums[int]()
        self.effective_flops = Sums[int]()
        self.memory: dict[int, Amounts] = {}
        self.memory_unread: set[int] = set()
        self.listed: set[int] = set()
        self.holders: dict[tuple[int, RuntimeKey], None] = {}
        self.runtimes: dict[Labels, RuntimeSums] = {}
        self._waiting: set[RuntimeKey] = set()

        self._counters = counters
        self._known = known
        self._notes = notes
        self._rules = rules
        runtimes = report.neuron_runtime_data
        # Null lists no runtimes; absent means that nobody looked.
        looked = runtimes is not UNSET
        self.cores_complete = self.memory_complete = looked
        if looked and runtimes and len(runtimes) > MOST_RUNTIMES:
            notes.left_out = len(runtimes) - MOST_RUNTIMES
            self.cores_complete = self.memory_complete = False
        self.keys: set[RuntimeKey] = set()
        for entry in runtimes[:MOST_RUNTIMES] if looked and runtimes else ():
            runtime = entry or _UNREADABLE
            key = key_of(runtime)
            self.keys.add(key)
            if rules.task and not rules.task.takes(key, _held(runtime)):
                continue
            settled = known.attribute(key, owners, partial(_held, runtime), now)
            self._read(runtime, key, known.runtime(key), settled=settled)
        if looked:
            counters.settle(self.keys, now)
            known.forget(self.keys)
            if rules.task:
                rules.task.forget(self.keys)
        for spot, tallies in counters.by_spot(but=self._waiting).items():
            shown = self.runtimes.get(spot.labels)
            if shown is None:
                shown = self.runtimes[spot.labels] = RuntimeSums.none(spot)
            shown.tallies = tallies

    def _read(self, runtime: Runtime, key: RuntimeKey, spot: Spot, *, settled: bool) -> None:
        report = runtime.report or _NOTHING
        if runtime.error:
            self._notes.add("neuron_runtime", runtime.error)
            report = _NOTHING
        else:
            self._notes.read.add("neuron_runtime")
        if settled:
            sums = self.runtimes.get(spot.labels)
            if sums is None:
                sums = self.runtimes[spot.labels] = RuntimeSums.none(spot)
        else:
            self._waiting.add(key)
            sums = RuntimeSums.none(spot)
        self._read_cores(report, key)
        self._read_memory(report, key, sums)
        self._read_vcpu(report, sums)
        self._read_executions(report, key, sums)

    def _read_cores(self, report: RuntimeReport, key: RuntimeKey) -> None:
        group = self._notes.usable(report.neuroncore_counters, Group.NEURONCORE_COUNTERS)
        if group is None or group.neuroncores_in_use is None:
            self.cores_complete = False
            return
        # Runtimes times cores are the most of a report, and nearly all of them are 0: those are
        # only listed here, and filled in at the end.
        cores = readable(group.neuroncores_in_use)
        self.cores_complete &= cores is group.neuroncores_in_use
        cores = self._rules.cores(cores)
        self.listed.update(cores)
        first = next(iter(cores.values()), None) or _UNREAD_CORE
        # A generation that does not tell a rate shows none, not zero.
        self._known.flops |= first.flops is not None
        self._known.effective_flops |= first.effective_flops is not None
        physical = bool(first.v3d)
        for core, used in cores.items():
            share = None if used is None else used.neuroncore_utilization
            if not share and share is not None:
                continue
            self.busy.add(core, share)
            used = used or _UNREAD_CORE
            self.flops.add(core, used.flops)
            self.effective_flops.add(core, used.effective_flops)
            physical = physical or bool(used.v3d)
            if share is not None:
                self.holders[core, key] = None
        if physical:
            self._read_physical(cores)

    def _read_physical(self, cores: dict[int, CoreCounters | None]) -> None:
        for core, used in cores.items():
            for name, part in ((used and used.v3d) or {}).items():
                self.physical.add((core, name), part.neuroncore_utilization if part else None)

    def _read_memory(self, report: RuntimeReport, key: RuntimeKey, sums: RuntimeSums) -> None:
        group = self._notes.usable(report.memory_used, Group.MEMORY_USED)
        used = group.neuron_runtime_used_bytes if group else None
        if used is not None:
            sums.memory = plus_each(sums.memory, (used.host, used.neuron_device))
        breakdown = used.usage_breakdown if used else None
        if breakdown is not None and breakdown.host is not None:
            sums.host_memory = plus_each(sums.host_memory, _host_amounts(breakdown.host))
        by_core = breakdown.neuroncore_memory_usage if breakdown else None
        if by_core is None:
            self.memory_complete = False
            return
        cores = readable(by_core)
        self.memory_complete &= cores is by_core
        cores = self._rules.cores(cores)
        for core, memory in cores.items():
            amounts: Amounts = _amounts(memory or _UNREAD)
            if None in amounts:
                self.memory_unread.add(core)
            if any(amounts):
                self.holders[core, key] = None
            others = self.memory.get(core)
            self.memory[core] = amounts if others is None else plus_each(others, amounts)

    def _read_vcpu(self, report: RuntimeReport, sums: RuntimeSums) -> None:
        group = self._notes.usable(report.neuron_runtime_vcpu_usage, Group.RUNTIME_VCPU_USAGE)
        if group is not None and group.vcpu_usage and long_enough(group, self._rules):
            usage = group.vcpu_usage
            sums.vcpu = plus_each(sums.vcpu, (usage.user, usage.system))

    def _read_executions(self, report: RuntimeReport, key: RuntimeKey, sums: RuntimeSums) -> None:
        # Before SDK 2.4 the group had another name.
        group = report.execution_stats or report.inference_stats
        stats = self._notes.usable(group, Group.EXECUTION_STATS)
        if stats is None:
            return
        statuses = stats.execution_summary or stats.inference_summary or {}
        errors = stats.error_summary or {}
        shown = key not in self._waiting
        self._counters.count(key, sums.spot, statuses, errors, shown=shown)
        latency = stats.latency_stats
        if latency is not None and (latency.total_latency or latency.device_latency):
            sums.latency = _highest(sums.latency, latency.total_latency or {})
            sums.device_latency = _highest(sums.device_latency, latency.device_latency or {})
            completed = statuses.get("completed") or 0.0
            done = Executions(completed, latency.total_latency, latency.device_latency)
            sums.executions = (*sums.executions, done)


def _held(runtime: Runtime) -> set[int] | None:
    """The cores on which a runtime was busy or has memory; None where neither could be read."""
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
        at for at, core in readable(busy or {}).items() if core and core.neuroncore_utilization
    }
    return cores | {
        at for at, core in readable(filled or {}).items() if core and any(_amounts(core))
    }


def key_of(runtime: Runtime) -> RuntimeKey:
    """Which process an entry is of. Before SDK 1.16 there was an index in place of a tag."""
    tag = runtime.neuron_runtime_tag
    if tag is None and runtime.neuron_runtime_index is not None:
        tag = str(runtime.neuron_runtime_index)
    return RuntimeKey(runtime.pid, tag)


def long_enough(section: Section, rules: Rules) -> bool:
    """Whether a period is long enough for CPU shares; a first report covers milliseconds."""
    return section.period is None or section.period >= rules.shortest_period


def _present(more: Readings) -> dict[str, float]:
    """What was read of it: nearly always all."""
    if None not in more.values():
        return more  # type: ignore[return-value]
    return {name: value for name, value in more.items() if value is not None}


def _highest(so_far: dict[str, float], more: Readings) -> dict[str, float]:
    """The higher of both for every name."""
    read = _present(more)
    return {**so_far, **{n: max(so_far.get(n, v), v) for n, v in read.items()}} if so_far else read
