"""Period of the reports and of their groups, and for how long a report may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_low

from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.runtimes import runtime_key
from neuron_exporter.report.schema import Report, RuntimeReport, Section, SystemData
from neuron_exporter.source.watchdog import MAX_PERIOD, START_TIMEOUT, START_UP_PERIOD

MIN_LIFETIME = 15.0
"""Minimum seconds for which a report may be shown, however short its period is."""

SYSTEM_GROUPS = tuple(SystemData.__struct_fields__)
RUNTIME_GROUPS = tuple(RuntimeReport.__struct_fields__)

_WINDOW = 5
_MIN_OBSERVATIONS = 3
_PERIODS_KEPT = 3
_MIN_DIFFERENCE = 0.5


class _GroupPeriod:
    """Recent periods of a group (s), and when it last reported one."""

    def __init__(self) -> None:
        self.observed: list[float] = []
        self.last_seen = 0.0
        self.median = 0.0

    def observe(self, period: float, now: float) -> None:
        self.observed = [*self.observed, period][-_WINDOW:]
        self.median = median_low(self.observed)
        self.last_seen = now


class ReportPeriod:
    """Period of the reports (s): the configured one until the stream shows another.

    neuron-monitor silently replaces a period that it does not understand by its default, and
    standard input and files have no configured period. So each group has the median of the periods
    that it reports, and the stream that of the group that reports most often. A start-up report
    covers milliseconds and shows no period. `configured` applies until the third observation.
    """

    def __init__(self, configured: float | None) -> None:
        self.configured = configured
        self.seconds = configured or 0.0
        self._latest = 0.0
        self._has_periods = False
        self._groups: dict[str, _GroupPeriod] = {}
        self._runtimes: set[RuntimeKey] = set()

    def observe(self, report: Report, now: float) -> float:
        """Take the periods of a report into account.

        Return the shortest, which is the time to the next report. A report without a period has
        that of the earlier ones, 0 if there is none.
        """
        periods = dict(self._periods(report))
        shown = {n: min(each, MAX_PERIOD) for n, each in periods.items() if each >= START_UP_PERIOD}
        for name, period in shown.items():
            self._groups.setdefault(name, _GroupPeriod()).observe(period, now)
        required = 1 if self.configured is None else _MIN_OBSERVATIONS
        medians = [
            group.median
            for group in self._groups.values()
            if len(group.observed) >= required
            and now - group.last_seen <= max(_PERIODS_KEPT * group.median, MIN_LIFETIME)
        ]
        self.seconds = min(medians, default=self.seconds)
        self._latest = min(shown.values(), default=0.0)
        self._has_periods = bool(periods)
        return self._latest or max(periods.values(), default=self.seconds)

    def _periods(self, report: Report) -> Iterator[tuple[str, float]]:
        """Yield the period of each group, for runtimes the longest.

        A new runtime covers less time than the report, and counts only if there is no other. Then
        its period is at least the shortest of the machine.
        """
        system = report.system_data or SystemData()
        of_machine: dict[str, float] = {}
        for name in SYSTEM_GROUPS:
            section: Section | None = getattr(system, name)
            if section is not None and section.period:
                of_machine[name] = section.period
        yield from of_machine.items()
        runtimes = report.neuron_runtime_data
        if not runtimes or (of_machine and self.configured is not None):
            return
        shortest = min(of_machine.values(), default=0.0)
        known, self._runtimes = self._runtimes, set()
        longest: dict[str, float] = {}
        for runtime in runtimes:
            if runtime is None:
                continue
            key = runtime_key(runtime)
            self._runtimes.add(key)
            groups = runtime.report or RuntimeReport()
            for name in RUNTIME_GROUPS:
                section = getattr(groups, name)
                is_evidence = key in known or name not in self._groups
                if is_evidence and section is not None and section.period:
                    period = max(section.period, longest.get(name, 0.0))
                    longest[name] = period if key in known else max(period, shortest)
        yield from longest.items()

    def kept_for(self, group: str) -> float:
        """Return for how many seconds the last reading of a group stays where a report lacks it.

        0 unless the group is not due in every report: in a stream that we did not configure, if
        the period of the group is longer than that of another group.
        """
        known = self._groups.get(group)
        if known is None or self.configured is not None:
            return 0.0
        is_longer = known.median - self.seconds > _MIN_DIFFERENCE
        return _PERIODS_KEPT * known.median if is_longer else 0.0

    @property
    def longest_kept(self) -> float:
        """The longest of these times; 0 if all groups have the same period."""
        return max(map(self.kept_for, self._groups), default=0.0)

    def interval_of(self, group: str) -> float:
        """Return the shortest time between two readings of a group that reports at times only."""
        return self._groups[group].median - _MIN_DIFFERENCE

    @property
    def fresh_for(self) -> float:
        """Seconds for which a report may be shown.

        A longer period of the latest report counts at once, unless the exporter has set the period.
        """
        period = max(self.seconds, self._latest if self.configured is None else self.configured)
        if not period and self._has_periods:
            return START_TIMEOUT + MIN_LIFETIME  # after a start-up report the period is unknown
        return max(_PERIODS_KEPT * period, MIN_LIFETIME)
