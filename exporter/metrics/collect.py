"""From a report to a snapshot: the rows read the places, and the shape is kept while it can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

from exporter.metrics.counters import Counters
from exporter.metrics.nodes import Spot
from exporter.metrics.places import Survey
from exporter.metrics.runtimes import Rules
from exporter.model import (
    Health,
    Machine,
    MetricSpec,
    Moment,
    Owners,
    Place,
    Series,
    Shape,
    Snapshot,
    SourceState,
    Value,
)
from exporter.report.types import Report, RuntimeReport, Section, SystemData

SHORTEST_LIFE = 15.0
"""Seconds that a report may be shown at least, however short its period is."""

_PERIODS_KEPT = 15
_PERIODS_TRUSTED = 3


class Period:
    """The period of reports (s): the configured one until the stream shows another.

    neuron-monitor replaces a period that it does not understand by its default without a word, and
    standard input and files have no configured one: so the median of what was seen decides, from
    the first report where nothing is configured, else from the third.
    """

    def __init__(self, configured: float | None) -> None:
        self.configured = configured
        self._seen: list[float] = []

    def observe(self, report: Report) -> float:
        """Learn from a report; gives the period that it covers, 0 where it does not tell."""
        longest = max((section.period or 0.0 for section in _sections(report)), default=0.0)
        if longest:
            self._seen = [*self._seen, longest][-_PERIODS_KEPT:]
        return longest

    @property
    def seconds(self) -> float:
        """The period as best known."""
        if self._seen and (self.configured is None or len(self._seen) >= _PERIODS_TRUSTED):
            return median(self._seen)
        return self.configured or 0.0

    @property
    def fresh_for(self) -> float:
        """How long a report may be shown."""
        return max(3 * self.seconds, 3 * (self.configured or 0.0), SHORTEST_LIFE)


class Collected(NamedTuple):
    """A snapshot, the period (s) that its report covers, and the groups that carried an error:
    how many, and one of the texts."""

    snapshot: Snapshot
    covers: float
    group_errors: Mapping[str, int]
    error_texts: Mapping[str, str]


class Collector:
    """Makes snapshots. One for the life of a daemon; used by one thread."""

    def __init__(
        self,
        rows: Iterable[MetricSpec],
        counters: Counters,
        period: Period,
        runtime_labels: tuple[str, ...] = ("runtime_tag",),
    ) -> None:
        self._counters = counters
        self._period = period
        self._rules = Rules(runtime_labels)
        by_place: dict[Place, list[MetricSpec]] = {}
        for row in rows:
            by_place.setdefault(row.place, []).append(row)
        self._rows = {place: tuple(rows) for place, rows in by_place.items()}
        self._signature: list[tuple[Any, ...]] = []
        self._shape: Shape = ()
        self._flops_known = False

    def collect(self, report: Report, at: Moment, machine: Machine, owners: Owners) -> Collected:
        """The snapshot of one report that was read at `at`."""
        covers = self._period.observe(report)
        survey = Survey(
            report,
            self._counters,
            machine=machine,
            owners=owners,
            rules=replace(self._rules, shortest_period=self._period.seconds / 2),
            flops_known=self._flops_known,
            now=at.monotonic,
        )
        self._flops_known = survey.flops_known

        signature: list[tuple[Any, ...]] = []
        values: list[Value] = []
        spots: list[tuple[Spot, tuple[MetricSpec, ...]]] = []
        for place, rows in self._rows.items():
            for spot in survey.spots(place):
                spots.append((spot, rows))
                present: list[Any] = [spot.labels, spot.owner]
                node = spot.node
                for row in rows:
                    reading = row.read(node)
                    if reading is None:
                        present.append(None)
                    elif isinstance(reading, dict):
                        present.append(tuple(reading))
                        values += reading.values()
                    else:
                        present.append(True)
                        values.append(reading)
                signature.append(tuple(present))
        if signature != self._signature:
            self._signature = signature
            self._shape = tuple(
                series for spot, rows in spots for row in rows for series in _series(row, spot)
            )
        snapshot = Snapshot(
            shape=self._shape,
            values=tuple(values),
            taken_at=at,
            fresh_for=self._period.fresh_for,
            machine=machine,
            health=Health(_state(report)),
        )
        return Collected(snapshot, covers, survey.notes.counts, survey.notes.texts)


def _series(row: MetricSpec, spot: Spot) -> Iterable[Series]:
    """The series of one row at one spot, in the order of their values."""
    reading = row.read(spot.node)
    if reading is None:
        return
    labels = spot.labels + row.constant_labels
    if not isinstance(reading, dict):
        yield Series(row, labels, owner=spot.owner)
        return
    starts = row.start(spot.node) if row.start else {}
    for by in reading:
        yield Series(
            row, (*labels, (row.by, by)), by=by, owner=spot.owner, start=starts.get(by, 0.0)
        )


def _state(report: Report) -> SourceState:
    """Whether the machine's Neuron driver answers."""
    hardware = report.neuron_hardware_info
    if hardware is not None:
        without = bool(hardware.error) or hardware.neuron_device_count == 0
        return SourceState.NO_DRIVER if without else SourceState.OK
    counters = report.system_data.neuron_hw_counters if report.system_data else None
    without = counters is not None and counters.neuron_devices is None
    return SourceState.NO_DRIVER if without else SourceState.OK


def _sections(report: Report) -> Iterable[Section]:
    system = report.system_data or SystemData()
    found: list[Section | None] = [
        system.neuron_hw_counters,
        system.vcpu_usage,
        system.memory_info,
    ]
    for runtime in report.neuron_runtime_data or ():
        groups = (runtime.report if runtime else None) or RuntimeReport()
        found += (
            groups.neuroncore_counters,
            groups.execution_stats,
            groups.memory_used,
            groups.neuron_runtime_vcpu_usage,
        )
    return [section for section in found if section is not None]
