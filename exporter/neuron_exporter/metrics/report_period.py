"""Period of the reports, and for how long a report may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_low

from neuron_exporter.report.schema import Report, RuntimeReport, Section, SystemData

MIN_LIFETIME = 15.0
"""Minimum seconds for which a report may be shown, however short its period is."""

_WINDOW = 15
_MIN_OBSERVATIONS = 3


class ReportPeriod:
    """Period of the reports (s): the configured one until the stream shows another.

    neuron-monitor silently replaces a period that it does not understand by its default, and
    standard input and files have no configured period. So the median of the observed periods
    is used: from the first report if no period is configured, otherwise from the third.
    """

    def __init__(self, configured: float | None) -> None:
        self.configured = configured
        self.seconds = configured or 0.0
        self._observed: list[float] = []

    def observe(self, report: Report) -> float:
        """Take the period of a report into account and return it, 0 if the report has none."""
        period = max(_periods(report), default=0.0)
        if period:
            self._observed = [*self._observed, period][-_WINDOW:]
            if self.configured is None or len(self._observed) >= _MIN_OBSERVATIONS:
                self.seconds = median_low(self._observed)
        return period

    @property
    def fresh_for(self) -> float:
        """Seconds for which a report may be shown."""
        return max(3 * self.seconds, 3 * (self.configured or 0.0), MIN_LIFETIME)


def _periods(report: Report) -> Iterator[float]:
    """Yield the periods of the machine's groups, or of the runtimes' groups if it has none.

    Those of the runtimes come second because a new runtime covers less time than the report.
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
