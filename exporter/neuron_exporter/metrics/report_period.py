"""How often reports come, and for how long one may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_low

from neuron_exporter.report.schema import Report, RuntimeReport, Section, SystemData

SHORTEST_LIFE = 15.0
"""Seconds that a report may be shown at least, however short its period is."""

_KEPT = 15
_TRUSTED = 3


class Period:
    """The period of reports (s): the configured one until the stream shows another.

    neuron-monitor replaces a period that it does not understand by its default without a word, and
    standard input and files have no configured one: so the median of what was seen decides, from
    the first report where nothing is configured, else from the third.
    """

    def __init__(self, configured: float | None) -> None:
        self.configured = configured
        self.seconds = configured or 0.0
        self._seen: list[float] = []

    def observe(self, report: Report) -> float:
        """Learn from a report; gives the period that it covers, 0 where it does not tell."""
        covers = max(_periods(report), default=0.0)
        if covers:
            self._seen = [*self._seen, covers][-_KEPT:]
            if self.configured is None or len(self._seen) >= _TRUSTED:
                self.seconds = median_low(self._seen)
        return covers

    @property
    def fresh_for(self) -> float:
        """How long a report may be shown."""
        return max(3 * self.seconds, 3 * (self.configured or 0.0), SHORTEST_LIFE)


def _periods(report: Report) -> Iterator[float]:
    """The periods of the machine's groups, or of the runtimes' where there is none.

    A runtime that has just come covers less than the report.
    """
    system = report.system_data or SystemData()
    sections: list[Section | None] = [
        system.neuron_hw_counters,
        system.vcpu_usage,
        system.memory_info,
    ]
    if not any(sections):
        for runtime in report.neuron_runtime_data or ():
            groups = (runtime.report if runtime else None) or RuntimeReport()
            sections += (
                groups.neuroncore_counters,
                groups.execution_stats,
                groups.memory_used,
                groups.neuron_runtime_vcpu_usage,
            )
    return (section.period for section in sections if section and section.period)
