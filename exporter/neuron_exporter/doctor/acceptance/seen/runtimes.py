"""What the reports showed of runtimes: cores, memory, executions, latency and processes."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from neuron_exporter.doctor.acceptance.seen.hardware import HardwareSeen
from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.runtimes import has_cpu_shares, runtime_key
from neuron_exporter.metrics.sums import CATEGORIES, HOST_CATEGORIES, readable
from neuron_exporter.report.schema import (
    CoreCounters,
    ExecutionStats,
    MemoryUsed,
    NeuroncoreCounters,
    Report,
    Runtime,
    Section,
)
from neuron_exporter.source.watchdog import START_UP_PERIOD

S = TypeVar("S", bound=Section)

_PERCENTILE = re.compile(r"p[0-9]{1,3}")


@dataclass(slots=True)
class Highest:
    """Highest value so far, and its place."""

    value: float = 0.0
    place: str = ""

    def add(self, value: float, place: str) -> None:
        """Take a value into account."""
        if value > self.value:
            self.value, self.place = value, place


@dataclass(slots=True)
class Checked:
    """Number of readings that were compared, and the differences that were found."""

    number: int = 0
    differences: Counter[str] = field(default_factory=Counter)

    def add(self, difference: str = "") -> None:
        """Count a comparison, with what differs, if anything does."""
        self.number += 1
        if difference:
            self.differences[difference] += 1


@dataclass(slots=True)
class Completed:
    """Comparisons of the executions of a report with those of the report before."""

    falls: int = 0
    rises: int = 0
    same: int = 0


@dataclass(slots=True)
class RuntimesSeen:
    """What the reports showed of runtimes.

    Attributes:
        used_cores: Cores that were busy or had memory.
        listed: Runtime entries by the number of cores that they list, and that there should be.
        utilization: Of one core by one runtime, in percent.
        summed: Utilization of one core by all runtimes, in percent.
        memory: Sums of memory by category, compared with the sums in the report.
        fullest: Memory of a device in use, as a share of its size.
        latency: Percentiles that should rise, and only exist where executions ended.
        cpu: CPU use of one runtime, in percent.
        physical: Names of physical cores.
    """

    used_cores: set[int] = field(default_factory=set)
    listed: Counter[tuple[int, int]] = field(default_factory=Counter)
    utilization: Highest = field(default_factory=Highest)
    summed: Highest = field(default_factory=Highest)
    memory: Checked = field(default_factory=Checked)
    fullest: Highest = field(default_factory=Highest)
    completed: Completed = field(default_factory=Completed)
    latency: Checked = field(default_factory=Checked)
    cpu: Highest = field(default_factory=Highest)
    host_cpu: Highest = field(default_factory=Highest)
    physical: Checked = field(default_factory=Checked)
    pids: dict[int, bool] = field(default_factory=dict)
    _keys: frozenset[RuntimeKey] = frozenset()
    _last_completed: float | None = None

    def restart(self) -> None:
        """Note that the source starts anew."""
        self._last_completed = None

    def observe(self, report: Report, hardware: HardwareSeen, *, follow_pids: bool) -> None:
        """Take a report into account; with `follow_pids`, look up each process as well."""
        by_core: defaultdict[int, float] = defaultdict(float)
        memory: defaultdict[int, float] = defaultdict(float)
        completed: dict[RuntimeKey, float] = {}
        for runtime in report.neuron_runtime_data or ():
            if runtime is None or runtime.error or runtime.report is None:
                continue
            if follow_pids:
                self._observe_process(runtime)
            groups = runtime.report
            self._observe_cores(_usable(groups.neuroncore_counters), hardware, by_core)
            self._observe_memory(_usable(groups.memory_used), memory)
            count = self._observe_executions(
                _usable(groups.execution_stats or groups.inference_stats)
            )
            if count is not None:
                completed[runtime_key(runtime)] = count
            vcpu = _usable(groups.neuron_runtime_vcpu_usage)
            if vcpu is not None and vcpu.vcpu_usage is not None and has_cpu_shares(vcpu):
                shares = vcpu.vcpu_usage
                self.cpu.add((shares.user or 0) + (shares.system or 0), "")
        for core, percent in by_core.items():
            self.summed.add(percent, f"core {core}")
        self.used_cores.update(core for core, size in memory.items() if size)
        self._observe_devices(memory, hardware)
        self._observe_completed(completed)
        usage = _usable(report.system_data.vcpu_usage) if report.system_data else None
        if usage is not None and usage.average_usage is not None and has_cpu_shares(usage):
            average = usage.average_usage
            self.host_cpu.add(sum(getattr(average, n) or 0 for n in average.__struct_fields__), "")

    def _observe_process(self, runtime: Runtime) -> None:
        """Note whether the runtime's process is one of this machine."""
        if runtime.pid is not None:
            exists = self.pids.get(runtime.pid, False)
            self.pids[runtime.pid] = exists or os.path.exists(f"/proc/{runtime.pid}")

    def _observe_cores(
        self,
        group: NeuroncoreCounters | None,
        hardware: HardwareSeen,
        by_core: defaultdict[int, float],
    ) -> None:
        if group is None or group.neuroncores_in_use is None:
            return
        cores = readable(group.neuroncores_in_use)
        if hardware.core_count:
            self.listed[len(cores), hardware.core_count] += 1
        for core, each in cores.items():
            percent = each.neuroncore_utilization if each is not None else None
            if percent:
                self.used_cores.add(core)
                by_core[core] += percent
                self.utilization.add(percent, f"core {core}")
            if each is not None and each.v3d:
                self._observe_physical(core, each, hardware)

    def _observe_physical(self, core: int, counters: CoreCounters, hardware: HardwareSeen) -> None:
        numbers = []
        for name in counters.v3d or ():
            number = name.rpartition(".")[2]
            if not (number.isascii() and number.isdigit()):
                self.physical.add("a name does not end with a number")
                return
            numbers.append(int(number))
        size = hardware.logical_core_size
        is_expected = sorted(numbers) == [*range(core * size, (core + 1) * size)]
        difference = f"core {core} has other numbers than LNC {size} implies"
        self.physical.add("" if is_expected else difference)

    def _observe_memory(self, group: MemoryUsed | None, memory: defaultdict[int, float]) -> None:
        used = group.neuron_runtime_used_bytes if group is not None else None
        breakdown = used.usage_breakdown if used is not None else None
        if used is None or breakdown is None:
            return
        if breakdown.host is not None and used.host is not None:
            self._compare("host", used.host, _sum(breakdown.host, HOST_CATEGORIES))
        if breakdown.neuroncore_memory_usage is not None:
            sums = {
                core: _sum(each, CATEGORIES)
                for core, each in readable(breakdown.neuroncore_memory_usage).items()
                if each is not None
            }
            for core, size in sums.items():
                memory[core] += size
            if used.neuron_device is not None:
                self._compare("neuron_device", used.neuron_device, sum(sums.values()))

    def _compare(self, name: str, total: float, summed: float) -> None:
        is_same = abs(total - summed) <= 1
        self.memory.add("" if is_same else f"{name} differs from the sum of its categories")

    def _observe_devices(self, memory: Mapping[int, float], hardware: HardwareSeen) -> None:
        size, per_device = hardware.hardware.neuron_device_memory_size, hardware.cores_per_device
        if size and per_device:
            by_device: Counter[int] = Counter()
            for core, used in memory.items():
                by_device[core // per_device] += int(used)
            for device, total in by_device.items():
                self.fullest.add(total / size, f"device {device}")

    def _observe_executions(self, stats: ExecutionStats | None) -> float | None:
        """Return the completed executions; None if they are unknown or of a start-up report."""
        if stats is None:
            return None
        summary = stats.execution_summary or stats.inference_summary or {}
        completed, latency = summary.get("completed"), stats.latency_stats
        for values in (latency.total_latency, latency.device_latency) if latency else ():
            if not values:
                continue
            self.latency.add(_disorder(values))
            if completed is not None and not any(summary.values()):
                self.latency.differences["percentiles without an execution"] += 1
        if stats.period is not None and stats.period < START_UP_PERIOD:
            return None
        return completed

    def _observe_completed(self, completed: Mapping[RuntimeKey, float]) -> None:
        """Compare the executions of the same runtimes with those of the report before."""
        keys, total = frozenset(completed), sum(completed.values())
        last = self._last_completed if keys == self._keys else None
        if last is not None and (total or last):
            self.completed.falls += total < last
            self.completed.rises += total > last
            self.completed.same += total == last
        self._keys, self._last_completed = keys, total if keys else None


def _usable(section: S | None) -> S | None:
    return None if section is None or section.error else section


def _sum(values: object, names: tuple[str, ...]) -> float:
    return sum(getattr(values, name) or 0 for name in names)


def _disorder(values: Mapping[str, float | None]) -> str:
    """Return the error in the order of percentiles; empty if they rise with their rank."""
    ranks = {
        int(name[1:]): value
        for name, value in values.items()
        if value is not None and _PERCENTILE.fullmatch(name)
    }
    for low, high in pairwise(sorted(ranks)):
        if ranks[low] > ranks[high]:
            return f"p{low} is above the next percentile"
    return ""
