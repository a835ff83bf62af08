"""Walks the runtimes of a report and sums what they say of each core.

A runtime lists every core of the machine, so a core's truth is the sum over runtimes. A group that
is missing or carries an error was not read, and what nobody read is absent, not zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from msgspec import UNSET

from exporter.metrics.counters import Counters, Readings, RuntimeKey
from exporter.metrics.nodes import Executions, RuntimeNode
from exporter.model import NOBODY, Group, Labels, Owner, Owners
from exporter.report.types import Report, Runtime, RuntimeReport, Section

CATEGORIES = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Rules:
    """How to read a report: the labels of runtimes, and how short a period (s) says nothing of
    CPU shares."""

    runtime_labels: tuple[str, ...] = ("runtime_tag",)
    shortest_period: float = 0.0


@dataclass(slots=True)
class CoreSums:
    """One quantity by core, summed over the runtimes that read it."""

    sums: dict[int, float] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)

    def add(self, core: int, amount: float | None) -> None:
        """Add what one runtime read, or note that it could not read."""
        if amount is None:
            self.unread.add(core)
        else:
            self.sums[core] = self.sums.get(core, 0.0) + amount

    def fill(self, count: int) -> None:
        """Show 0 for each of `count` cores that no runtime lists."""
        for core in range(count):
            if core not in self.sums and core not in self.unread:
                self.sums[core] = 0.0


class Notes:
    """Collects the groups that neuron-monitor marked with an error."""

    def __init__(self) -> None:
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
        return section


class RuntimeWalk:
    """What all runtimes of one report say. `counters` are advanced by it, once."""

    def __init__(
        self,
        report: Report,
        counters: Counters,
        owners: Owners,
        rules: Rules,
        notes: Notes,
        now: float,
    ) -> None:
        self.busy = CoreSums()  # percent
        self.flops = CoreSums()
        self.memory = {category: CoreSums() for category in CATEGORIES}
        self.holders: dict[tuple[int, RuntimeKey], None] = {}
        self.nodes: dict[Labels, tuple[Owner, RuntimeNode]] = {}
        self.executions: list[Executions] = []

        self._counters = counters
        self._owners = owners
        self._rules = rules
        self._notes = notes
        listed = report.neuron_runtime_data
        # Null lists no runtimes; absent means that nobody looked.
        looked = listed is not UNSET
        self.cores_complete = self.memory_complete = looked
        keys = [self._walk(entry or Runtime()) for entry in listed or ()]
        if looked:
            counters.settle(keys, now)
        for labels, tallies in counters.by_labels().items():
            node = self._node(labels, NOBODY)
            node.statuses, node.errors = tallies.statuses, tallies.errors

    def identify(self, key: RuntimeKey) -> tuple[Labels, Owner]:
        """The labels under which a runtime is shown, and its owner."""
        owner = self._owners.by_pid.get(key.pid, NOBODY) if key.pid is not None else NOBODY
        known = {"runtime_tag": key.tag, "pid": None if key.pid is None else str(key.pid)}
        own = ((name, known[name]) for name in self._rules.runtime_labels)
        return tuple((n, v) for n, v in own if v) + owner.labels(), owner

    def _node(self, labels: Labels, owner: Owner) -> RuntimeNode:
        return self.nodes.setdefault(labels, (owner, RuntimeNode()))[1]

    def _walk(self, runtime: Runtime) -> RuntimeKey:
        key = RuntimeKey(runtime.pid, runtime.neuron_runtime_tag)
        report = runtime.report or RuntimeReport()
        if runtime.error:
            self._notes.add("neuron_runtime", runtime.error)
            report = RuntimeReport()
        labels, owner = self.identify(key)
        node = self._node(labels, owner)
        self._read_cores(report, key)
        self._read_memory(report, key, node)
        self._read_vcpu(report, node)
        self._read_executions(report, key, labels, node)
        return key

    def _read_cores(self, report: RuntimeReport, key: RuntimeKey) -> None:
        group = self._notes.usable(report.neuroncore_counters, Group.NEURONCORE_COUNTERS)
        if group is None or group.neuroncores_in_use is None:
            self.cores_complete = False
            return
        # Runtimes times cores are the most of a report: no call for each of them here.
        busy, flops = self.busy.sums, self.flops.sums
        for core, used in group.neuroncores_in_use.items():
            share = used.neuroncore_utilization if used else None
            if share:
                busy[core] = busy.get(core, 0.0) + share
                self.holders[core, key] = None
            elif share is None:
                self.busy.unread.add(core)
            elif core not in busy:
                busy[core] = 0.0
            rate = used.effective_flops if used else None
            if rate:
                flops[core] = flops.get(core, 0.0) + rate
            elif rate is None:
                self.flops.unread.add(core)
            elif core not in flops:
                flops[core] = 0.0

    def _read_memory(self, report: RuntimeReport, key: RuntimeKey, node: RuntimeNode) -> None:
        group = self._notes.usable(report.memory_used, Group.MEMORY_USED)
        used = group.neuron_runtime_used_bytes if group else None
        if used is not None:
            _add(node.memory, "host", used.host)
            _add(node.memory, "neuron_device", used.neuron_device)
        breakdown = used.usage_breakdown if used else None
        by_core = breakdown.neuroncore_memory_usage if breakdown else None
        if by_core is None:
            self.memory_complete = False
            return
        for core, memory in by_core.items():
            for category, sums in self.memory.items():
                amount = getattr(memory, category, None)
                sums.add(core, amount)
                if amount:
                    self.holders[core, key] = None

    def _read_vcpu(self, report: RuntimeReport, node: RuntimeNode) -> None:
        group = self._notes.usable(report.neuron_runtime_vcpu_usage, Group.RUNTIME_VCPU_USAGE)
        if group is not None and group.vcpu_usage and long_enough(group, self._rules):
            _add(node.vcpu, "user", group.vcpu_usage.user, 100)
            _add(node.vcpu, "system", group.vcpu_usage.system, 100)

    def _read_executions(
        self, report: RuntimeReport, key: RuntimeKey, labels: Labels, node: RuntimeNode
    ) -> None:
        stats = self._notes.usable(report.execution_stats, Group.EXECUTION_STATS)
        if stats is None:
            return
        statuses = stats.execution_summary or {}
        self._counters.count(key, labels, statuses, stats.error_summary or {})
        latency = stats.latency_stats
        if latency is not None and (latency.total_latency or latency.device_latency):
            _raise(node.latency, latency.total_latency)
            _raise(node.device_latency, latency.device_latency)
            completed = statuses.get("completed") or 0.0
            self.executions.append(
                Executions(completed, latency.total_latency, latency.device_latency)
            )


def long_enough(section: Section, rules: Rules) -> bool:
    """Whether a period is long enough for CPU shares; a first report covers milliseconds."""
    return section.period is None or section.period >= rules.shortest_period


def _add(sums: dict[str, float], name: str, amount: float | None, divisor: float = 1) -> None:
    if amount is not None:
        sums[name] = sums.get(name, 0.0) + amount / divisor


def _raise(highest: dict[str, float], readings: Readings | None) -> None:
    for name, reading in (readings or {}).items():
        if reading is not None and reading > highest.get(name, -1.0):
            highest[name] = reading
