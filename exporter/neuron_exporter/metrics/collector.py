"""Makes snapshots: each row of the catalogue reads its values from a table of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from neuron_exporter.metrics.aggregate import ReportAggregation
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.owner_resolution import OwnerResolver
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.runtimes import ReadOptions
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.tables import Table
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.model import (
    Entity,
    EntityKind,
    Health,
    Labels,
    Machine,
    MetricKind,
    MetricSpec,
    Owners,
    Series,
    Shape,
    Snapshot,
    SourceState,
    Timestamp,
    Value,
)
from neuron_exporter.report.schema import Report

MAX_SERIES_PER_METRIC = 20_000
"""Maximum number of series of one metric; 128 runtimes that each list 128 cores make 16,384."""

MAX_SERIES = 100_000
"""Maximum number of series of one report."""


class CollectResult(NamedTuple):
    """Snapshot of a report, and the facts about the report that the pipeline counts and logs.

    Attributes:
        report_period: Seconds that the report covers, 0 if it has no period.
        group_errors: Number of errors by group; `error_texts` has one text of each.
        runtimes_dropped: Runtimes above `MAX_RUNTIMES`.
        series_dropped: Series above `MAX_SERIES_PER_METRIC` and `MAX_SERIES`.
        processes: Pids of the runtimes; `used_cores` are the cores that they use.
    """

    snapshot: Snapshot
    report_period: float
    groups_read: Set[str]
    group_errors: Mapping[str, int]
    error_texts: Mapping[str, str]
    runtimes_dropped: int
    series_dropped: int
    processes: frozenset[int]
    used_cores: frozenset[int]


class Collector:
    """Maker of snapshots of a machine, or of the task of `scope`.

    The daemon keeps one for its whole life. One thread uses it; `set_rows` may be called from any.
    """

    def __init__(
        self,
        rows: Iterable[MetricSpec],
        counters: Counters,
        period: ReportPeriod,
        runtime_labels: tuple[str, ...] = ("runtime_tag",),
        scope: TaskScope | None = None,
    ) -> None:
        self._scope = scope
        self._counters = counters
        self._period = period
        self._cache = SeriesCache(runtime_labels)
        self._owner_resolver = OwnerResolver()
        self._shape_key: Any = None
        self._shape: Shape = ()
        self.set_rows(rows)

    def set_rows(self, rows: Iterable[MetricSpec]) -> None:
        """Collect these rows from the next report on. All counters keep their values."""
        by_kind: dict[EntityKind, list[MetricSpec]] = {}
        for row in rows:
            by_kind.setdefault(row.entity_kind, []).append(row)
        self._rows = {kind: tuple(rows) for kind, rows in by_kind.items()}

    def collect(
        self, report: Report, at: Timestamp, machine: Machine, owners: Owners
    ) -> CollectResult:
        """Make the snapshot of a report that was read at `at`."""
        report_period = self._period.observe(report)
        if self._scope is not None:
            self._scope.update(report)
        aggregation = ReportAggregation(
            report,
            self._counters,
            machine=machine,
            owners=self._owner_resolver.resolve(
                report.neuron_k8s_info, report.neuron_hardware_info, owners, at.monotonic
            ),
            cache=self._cache,
            options=ReadOptions(self._period.seconds / 2, self._scope),
            now=at.monotonic,
        )
        rows_by_kind = self._rows  # one reference: another thread may replace the attribute
        tables = {kind: aggregation.table(kind) for kind in rows_by_kind}
        values: list[Value] = []
        dropped = 0
        splits: list[Any] = []
        for kind, rows in rows_by_kind.items():
            table = tables[kind]
            for row in rows:
                begin = len(values)
                reading = row.read(table)
                if isinstance(reading, dict):
                    splits.append((tuple(reading), row.read_start and row.read_start(table)))
                    for column in reading.values():
                        values += column
                else:
                    values += reading
                if len(values) - begin > MAX_SERIES_PER_METRIC or len(values) > MAX_SERIES:
                    dropped += _truncate(values, begin)
        shape_key = (rows_by_kind, [table.entities for table in tables.values()], splits)
        if shape_key != self._shape_key:
            self._shape_key = shape_key
            self._shape = _shape(rows_by_kind, tables)
        snapshot = Snapshot(
            shape=self._shape,
            values=tuple(values),
            taken_at=at,
            fresh_for=self._period.fresh_for,
            machine=machine,
            health=Health(_state(report)),
        )
        status = aggregation.status
        return CollectResult(
            snapshot,
            report_period,
            status.groups_read,
            status.error_counts,
            status.error_texts,
            runtimes_dropped=status.runtimes_dropped,
            series_dropped=dropped,
            processes=aggregation.processes,
            used_cores=aggregation.used_cores,
        )


def _truncate(items: list[Any], begin: int) -> int:
    """Drop the excess items of the metric that begins at `begin`; return their number."""
    excess = max(len(items) - begin - MAX_SERIES_PER_METRIC, len(items) - MAX_SERIES, 0)
    excess = min(excess, len(items) - begin)
    if excess:
        del items[-excess:]
    return excess


def _shape(
    rows_by_kind: Mapping[EntityKind, tuple[MetricSpec, ...]], tables: Mapping[EntityKind, Table]
) -> Shape:
    """Return all series, including those without a value now, in the order of the values."""
    series: list[Series] = []
    for kind, rows in rows_by_kind.items():
        for row in rows:
            begin = len(series)
            series += _series(row, tables[kind])
            _truncate(series, begin)
    return tuple(series)


def _series(row: MetricSpec, table: Table) -> Iterator[Series]:
    reading = row.read(table)
    if not isinstance(reading, dict):
        for labels, owner in table.entities:
            yield Series(row, labels + row.constant_labels, owner=owner)
        return
    start_values = row.read_start(table) if row.read_start else {}
    zeros = [0.0] * len(table.entities)
    for name in reading:
        for entity, start in zip(table.entities, start_values.get(name, zeros), strict=True):
            labels = (*_labels(row, entity), *row.constant_labels, (row.split_by, name))
            yield Series(row, labels, split_value=name, owner=entity.owner, start_value=start)


def _labels(row: MetricSpec, entity: Entity) -> Labels:
    """Return the entity's labels, without those of the owner for counters of a device.

    Such a counter goes on when the device changes owner: it must neither start again under other
    labels nor exist twice.
    """
    if row.entity_kind is not EntityKind.DEVICE or row.kind is not MetricKind.COUNTER:
        return entity.labels
    owner_labels = entity.owner.labels()
    return tuple(label for label in entity.labels if label not in owner_labels)


def _state(report: Report) -> SourceState:
    """Return `NO_DRIVER` if the report shows that the Neuron driver does not answer, else `OK`."""
    hardware = report.neuron_hardware_info
    if hardware is not None:
        no_driver = bool(hardware.error) or hardware.neuron_device_count == 0
    else:
        counters = report.system_data.neuron_hw_counters if report.system_data else None
        no_driver = counters is not None and counters.neuron_devices is None
    return SourceState.NO_DRIVER if no_driver else SourceState.OK
