"""From a report to a snapshot: the rows read the places, and the shape is kept while it can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from neuron_exporter.metrics.aggregate import Survey
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.owner_resolution import Pods
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.metrics.runtimes import Rules
from neuron_exporter.metrics.series_cache import Known
from neuron_exporter.metrics.tables import Table
from neuron_exporter.metrics.task_scope import Task
from neuron_exporter.model import (
    Health,
    Kind,
    Labels,
    Machine,
    MetricSpec,
    Moment,
    Owners,
    Place,
    Series,
    Shape,
    Snapshot,
    SourceState,
    Spot,
    Value,
)
from neuron_exporter.report.schema import Report

MOST_OF_A_METRIC = 20_000
"""Series of one metric: 128 runtimes that each list 128 cores make 16,384."""

MOST_SERIES = 100_000
"""Series of one report."""


class Collected(NamedTuple):
    """A snapshot, the period (s) that its report covers, the groups that could be read, those that
    carried an error (how many, and one of the texts), what was more than our bounds allow, and the
    processes that were seen with the cores that they hold."""

    snapshot: Snapshot
    covers: float
    groups_read: Set[str]
    group_errors: Mapping[str, int]
    error_texts: Mapping[str, str]
    runtimes_left_out: int
    series_dropped: int
    processes: frozenset[int]
    held: frozenset[int]


class Collector:
    """Makes snapshots, of the machine or of a `task`. One for the life of a daemon; used by one
    thread, but for `choose`."""

    def __init__(
        self,
        rows: Iterable[MetricSpec],
        counters: Counters,
        period: Period,
        runtime_labels: tuple[str, ...] = ("runtime_tag",),
        task: Task | None = None,
    ) -> None:
        self._task = task
        self._counters = counters
        self._period = period
        self._known = Known(runtime_labels)
        self._pods = Pods()
        self._signature: Any = None
        self._shape: Shape = ()
        self.choose(rows)

    def choose(self, rows: Iterable[MetricSpec]) -> None:
        """Collect these rows from the next report on. Nothing that was counted is forgotten."""
        by_place: dict[Place, list[MetricSpec]] = {}
        for row in rows:
            by_place.setdefault(row.place, []).append(row)
        self._rows = {place: tuple(rows) for place, rows in by_place.items()}

    def collect(self, report: Report, at: Moment, machine: Machine, owners: Owners) -> Collected:
        """The snapshot of one report that was read at `at`."""
        covers = self._period.observe(report)
        if self._task is not None:
            self._task.begin(report)
        survey = Survey(
            report,
            self._counters,
            machine=machine,
            owners=self._pods.join(
                report.neuron_k8s_info, report.neuron_hardware_info, owners, at.monotonic
            ),
            known=self._known,
            rules=Rules(self._period.seconds / 2, self._task),
            now=at.monotonic,
        )
        rows_by_place = self._rows  # as it is now: another thread may replace it
        tables = {place: survey.table(place) for place in rows_by_place}
        values: list[Value] = []
        dropped = 0
        splits: list[Any] = []
        for place, rows in rows_by_place.items():
            table = tables[place]
            for row in rows:
                begin = len(values)
                reading = row.read(table)
                if isinstance(reading, dict):
                    splits.append((tuple(reading), row.start and row.start(table)))
                    for column in reading.values():
                        values += column
                else:
                    values += reading
                if len(values) - begin > MOST_OF_A_METRIC or len(values) > MOST_SERIES:
                    dropped += _bound(values, begin)
        signature = (rows_by_place, [table.spots for table in tables.values()], splits)
        if signature != self._signature:
            self._signature = signature
            self._shape = _shape(rows_by_place, tables)
        snapshot = Snapshot(
            shape=self._shape,
            values=tuple(values),
            taken_at=at,
            fresh_for=self._period.fresh_for,
            machine=machine,
            health=Health(_state(report)),
        )
        notes = survey.notes
        return Collected(
            snapshot,
            covers,
            notes.read,
            notes.counts,
            notes.texts,
            runtimes_left_out=notes.left_out,
            series_dropped=dropped,
            processes=survey.processes,
            held=survey.held,
        )


def _bound(items: list[Any], begin: int) -> int:
    """Drop what a metric, whose items begin at `begin`, has above our bounds; gives how many."""
    above = max(len(items) - begin - MOST_OF_A_METRIC, len(items) - MOST_SERIES, 0)
    above = min(above, len(items) - begin)
    if above:
        del items[-above:]
    return above


def _shape(
    all_rows: Mapping[Place, tuple[MetricSpec, ...]], tables: Mapping[Place, Table]
) -> Shape:
    """Every series that could have a value, in the order of the values."""
    series: list[Series] = []
    for place, rows in all_rows.items():
        for row in rows:
            begin = len(series)
            series += _series(row, tables[place])
            _bound(series, begin)
    return tuple(series)


def _series(row: MetricSpec, table: Table) -> Iterator[Series]:
    """Every series of one metric."""
    reading = row.read(table)
    if not isinstance(reading, dict):
        for labels, owner in table.spots:
            yield Series(row, labels + row.constant_labels, owner=owner)
        return
    starts = row.start(table) if row.start else {}
    for by in reading:
        nothing = [0.0] * len(table.spots)
        for spot, start in zip(table.spots, starts.get(by, nothing), strict=True):
            owner = spot.owner
            own = (*_labels(row, spot), *row.constant_labels, (row.by, by))
            yield Series(row, own, by=by, owner=owner, start=start)


def _labels(row: MetricSpec, spot: Spot) -> Labels:
    """The labels of a spot. What a device counted is not its holder's: with the next one it goes
    on, and must neither begin again under other labels nor be there twice."""
    if row.place is not Place.DEVICE or row.kind is not Kind.COUNTER:
        return spot.labels
    return tuple(pair for pair in spot.labels if pair not in spot.owner.labels())


def _state(report: Report) -> SourceState:
    """Whether the machine's Neuron driver answers."""
    hardware = report.neuron_hardware_info
    if hardware is not None:
        without = bool(hardware.error) or hardware.neuron_device_count == 0
        return SourceState.NO_DRIVER if without else SourceState.OK
    counters = report.system_data.neuron_hw_counters if report.system_data else None
    without = counters is not None and counters.neuron_devices is None
    return SourceState.NO_DRIVER if without else SourceState.OK
