"""The stream of a run: its lines, periods, groups, fields and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from neuron_exporter.doctor.acceptance.names import OTHER_NAME, harmless_name
from neuron_exporter.facts.report_names import KNOWN_NAMES
from neuron_exporter.metrics.report_period import RUNTIME_GROUPS, SYSTEM_GROUPS
from neuron_exporter.model import Group
from neuron_exporter.report import Decoded, unknown_fields
from neuron_exporter.report.schema import ExecutionStats, Report, Runtime, Section
from neuron_exporter.text import safe_message

_OLD_NAMES = {"inference_stats": Group.EXECUTION_STATS.value}
_COLLECTION = re.compile(r"(?:\[\]|\{\})*$")
_MAX_TEXTS = 20


@dataclass(slots=True)
class StreamSeen:
    """What the lines of the stream showed. Periods and intervals are in seconds."""

    reports: int = 0
    invalid_lines: Counter[str] = field(default_factory=Counter)
    restarts: list[str] = field(default_factory=list)
    longest: int = 0
    intervals: list[float] = field(default_factory=list)
    first_periods: list[float] = field(default_factory=list)
    later_periods: dict[str, list[float]] = field(default_factory=dict)
    group_reports: Counter[str] = field(default_factory=Counter)
    runtimes: int = 0
    group_runtimes: Counter[str] = field(default_factory=Counter)
    error_groups: Counter[str] = field(default_factory=Counter)
    error_texts: Counter[str] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)
    invalid: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    unknown_names: set[str] = field(default_factory=set)
    _last_at: float | None = None
    _is_first: bool = True

    @property
    def unknown_fields(self) -> list[str]:
        """Paths of unknown fields; a name that may be an id is left out."""
        return sorted({_harmless_path(path) for path in self.unknown})

    def restart(self, reason: str) -> None:
        """Note that the source starts anew."""
        self.restarts.append(reason)
        self._last_at, self._is_first = None, True

    def observe(self, line: bytes, decoded: Decoded, at: float) -> None:
        """Take a report into account."""
        self.reports += 1
        self.longest = max(self.longest, len(line))
        self.unknown.update(unknown_fields(line, frozenset(self.unknown)))
        self.invalid.update(
            (each.path, each.problem.partition(" (got ")[0]) for each in decoded.invalid_fields
        )
        if self._last_at is not None:
            self.intervals.append(at - self._last_at)
        self._last_at = at
        self._observe_groups(decoded.report)
        for runtime in decoded.report.neuron_runtime_data or ():
            self._observe_runtime(runtime)
        self._is_first = False

    def _observe_groups(self, report: Report) -> None:
        for name in SYSTEM_GROUPS:
            section: Section | None = getattr(report.system_data, name, None)
            self.group_reports[name] += section is not None
            if section is None:
                continue
            self._add_error(name, section.error)
            if section.period is not None and self._is_first:
                self.first_periods.append(section.period)
            elif section.period is not None:
                self.later_periods.setdefault(name, []).append(section.period)
        for name in ("neuron_hardware_info", "instance_info"):
            self._add_error(name, getattr(getattr(report, name), "error", None))

    def _observe_runtime(self, runtime: Runtime | None) -> None:
        if runtime is None:
            return
        self._add_error("neuron_runtime", runtime.error)
        if runtime.error or runtime.report is None:
            return
        self.runtimes += 1
        for name in RUNTIME_GROUPS:
            section: Section | None = getattr(runtime.report, name)
            if section is not None:
                self.group_runtimes[_OLD_NAMES.get(name, name)] += 1
                self._add_error(name, section.error)
        stats = runtime.report.execution_stats or runtime.report.inference_stats
        for kind, name in _names(stats) if stats is not None and not stats.error else ():
            self.names.add(f"{kind}: {name}")
            if name not in KNOWN_NAMES[kind]:
                self.unknown_names.add(f"{kind}: {harmless_name(name)}")

    def _add_error(self, group: str, text: str | None) -> None:
        if text:
            self.error_groups[group] += 1
            # Numbers are ids of processes.
            shown = f"{group}: {re.sub('[0-9]+', 'N', safe_message(text))}"
            if shown in self.error_texts or len(self.error_texts) < _MAX_TEXTS:
                self.error_texts[shown] += 1


def _names(stats: ExecutionStats) -> Iterator[tuple[str, str]]:
    """Yield the kind and name of each status, error type and percentile."""
    latency = stats.latency_stats
    for kind, values in (
        ("execution_summary", stats.execution_summary or stats.inference_summary),
        ("error_summary", stats.error_summary),
        ("latency_stats", latency and latency.total_latency),
        ("latency_stats", latency and latency.device_latency),
    ):
        for name in values or ():
            yield kind, name


def _harmless_path(path: str) -> str:
    """Return a path of field names, such as `system_data.devices[].name`, if all are harmless."""
    names = [_COLLECTION.sub("", part) for part in path.split(".")]
    return path if OTHER_NAME not in map(harmless_name, names) else OTHER_NAME
