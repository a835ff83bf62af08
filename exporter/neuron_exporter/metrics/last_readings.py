"""Readings of groups that are not due in every report.

The groups of a stream that the exporter did not configure may have periods of their own. Between
the readings of such a group, neuron-monitor leaves the group out or repeats its last reading. In
both cases the last reading is used again, without the events that it has already counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from neuron_exporter.facts.report_names import GENERIC
from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.report_period import RUNTIME_GROUPS, SYSTEM_GROUPS, ReportPeriod
from neuron_exporter.metrics.runtimes import runtime_key
from neuron_exporter.report.schema import (
    ExecutionStats,
    Report,
    Runtime,
    RuntimeReport,
    Section,
    SystemData,
    VcpuUsage,
)

T = TypeVar("T", SystemData, RuntimeReport)


class _Reading(NamedTuple):
    section: Section
    read_at: float


_Readings = dict[str, _Reading]
_Runtimes = list[Runtime | None] | UnsetType | None


class LastReadings:
    """The last reading of each group and of each group of each runtime.

    `repeated` are the groups of the machine that the last report repeated.
    """

    def __init__(self, period: ReportPeriod) -> None:
        self.repeated: set[str] = set()
        self._period = period
        self._now = 0.0
        self._no_runtimes_at: float | None = None
        self._machine: _Readings = {}
        self._runtimes: dict[RuntimeKey, tuple[Runtime, _Readings]] = {}

    def complete(self, report: Report, now: float) -> Report:
        """Return the report with the last reading of each group that is not due in it.

        The report is returned as it is if all groups have the same period.
        """
        self.repeated = set()
        if not self._period.longest_kept:
            self._no_runtimes_at, self._machine, self._runtimes = None, {}, {}
            return report
        self._now = now
        system = report.system_data or SystemData()
        machine = self._complete(system, SYSTEM_GROUPS, self._machine)
        self.repeated = {
            name for name in SYSTEM_GROUPS if getattr(machine, name) is not getattr(system, name)
        }
        runtimes = self._complete_runtimes(report.neuron_runtime_data)
        return replace(report, system_data=machine, neuron_runtime_data=runtimes)

    def _complete_runtimes(self, runtimes: _Runtimes) -> _Runtimes:
        if runtimes is UNSET or runtimes is None:
            last = [self._runtime(runtime) for runtime, _ in self._runtimes.values()]
            kept: _Runtimes = [each for each in last if each.report != RuntimeReport()]
            since = self._no_runtimes_at
            had_none = since is not None and self._now - since <= self._period.longest_kept
            return kept if kept or had_none else runtimes
        self._no_runtimes_at = None if runtimes else self._now
        present = {runtime_key(runtime) for runtime in runtimes if runtime is not None}
        self._runtimes = {k: v for k, v in self._runtimes.items() if k in present}
        return [runtime and self._runtime(runtime) for runtime in runtimes]

    def _runtime(self, runtime: Runtime) -> Runtime:
        key = runtime_key(runtime)
        if runtime.error:
            self._runtimes.pop(key, None)
            return runtime
        entry = replace(runtime, report=None)
        _, readings = self._runtimes.setdefault(key, (entry, {}))
        groups = self._complete(runtime.report or RuntimeReport(), RUNTIME_GROUPS, readings)
        return replace(runtime, report=groups)

    def _complete(self, groups: T, names: tuple[str, ...], readings: _Readings) -> T:
        """Return the groups with the last readings, and remember the new ones."""
        changes: dict[str, Section] = {}
        for name in names:
            lifetime = self._period.kept_for(name)
            if not lifetime:
                continue
            section: Section | None = getattr(groups, name)
            last = readings.get(name)
            if section is not None and section.error:
                readings.pop(name, None)
            elif last is not None and self._is_repeated(name, section, last, lifetime):
                changes[name] = _without_events(last.section)
            elif section is not None:
                readings[name] = _Reading(section, self._now)
        return replace(groups, **changes)

    def _is_repeated(
        self, name: str, section: Section | None, last: _Reading, lifetime: float
    ) -> bool:
        age = self._now - last.read_at
        if section is None:
            return age <= lifetime
        return section == last.section and age < self._period.interval_of(name)


def _without_events(section: Section) -> Section:
    """Return a section without the numbers that the counters have already added."""
    if isinstance(section, VcpuUsage):
        return replace(section, context_switch_count=None)
    if isinstance(section, ExecutionStats):
        return replace(
            section,
            error_summary=_zeros(section.error_summary),
            execution_summary=_zeros(section.execution_summary),
            inference_summary=_zeros(section.inference_summary),
        )
    return section


def _zeros(events: Mapping[str, float | None] | None) -> dict[str, float | None] | None:
    """Return the events as zeros; `generic` is a level and stays."""
    if events is None:
        return None
    return {
        name: value if name == GENERIC or value is None else 0 for name, value in events.items()
    }
