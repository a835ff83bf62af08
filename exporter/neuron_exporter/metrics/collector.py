"""Makes snapshots: each row of the catalogue reads its values from a table of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from neuron_exporter.metrics.aggregate import ReportAggregation
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.driver_readings import DriverReadings
from neuron_exporter.metrics.execution_gaps import ExecutionGaps
from neuron_exporter.metrics.inventory import Inventory
from neuron_exporter.metrics.last_readings import LastReadings
from neuron_exporter.metrics.owner_resolution import OwnerResolver
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.runtimes import ReadOptions
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.tables import RUNTIME_KINDS, Table
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
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.report.schema import Report

MAX_SERIES_PER_METRIC = 20_000
"""Maximum number of series of one metric; 128 runtimes that each list 128 cores make 16,384."""

MAX_SERIES = 100_000
"""Maximum number of series of one report."""

MAX_LABEL_BYTES = 16 * 1024 * 1024
"""Maximum length of the labels of all series of one report, without those of the machine. The
50,000 series of 64 runtimes on 128 cores in AWS's layout have 4 MB, or about 9 MB with pods."""

_COUNTED_UNDER_ALL_OWNERS = (EntityKind.CORE, EntityKind.DEVICE)

_SeriesByColumn = dict[tuple[MetricSpec, str], dict[Labels, Series]]
"""Series of each row and split value, by the labels of the entity."""


class CollectResult(NamedTuple):
    """Snapshot of a report, and the facts about the report that the pipeline counts and logs.

    Attributes:
        report_period: Seconds until the next report, 0 if they are unknown.
        group_errors: Number of errors by group; `error_texts` has one text of each.
        unknown_names: Paths of names that a later SDK has added to a list of known ones.
        runtimes_dropped: Runtimes above `MAX_RUNTIMES`.
        series_dropped: Series above `MAX_SERIES_PER_METRIC`, `MAX_SERIES` and `MAX_LABEL_BYTES`.
        series_evicted: Series of exited runtimes above `MAX_RETIRED_SERIES`.
        processes: Pids of the runtimes, None if these were not read; `used_cores` are the cores
            that they use.
    """

    snapshot: Snapshot
    report_period: float
    groups_read: Set[str]
    group_errors: Mapping[str, int]
    error_texts: Mapping[str, str]
    unknown_names: Set[str]
    runtimes_dropped: int
    series_dropped: int
    series_evicted: int
    processes: frozenset[int] | None
    used_cores: frozenset[int]


class Collector:
    """Maker of snapshots of a machine, or of the task of `scope`.

    `container_devices` returns the number of devices of the exporter's container if it has a part
    of the machine's, otherwise None. `present_devices` returns the indices of those in /dev.

    The daemon keeps one for its whole life. One thread uses it; `set_rows` may be called from any.
    """

    def __init__(
        self,
        rows: Iterable[MetricSpec],
        counters: Counters,
        period: ReportPeriod,
        runtime_labels: tuple[str, ...] = ("runtime_tag",),
        scope: TaskScope | None = None,
        container_devices: Callable[[], int | None] = lambda: None,
        present_devices: Callable[[], Set[int]] = frozenset,
    ) -> None:
        self._scope = scope
        self._counters = counters
        self._gaps = ExecutionGaps()
        self._period = period
        self._cache = SeriesCache(runtime_labels)
        self._inventory = Inventory(container_devices)
        self._driver = DriverReadings(self._inventory, scope, present_devices)
        self._last_readings = LastReadings(period)
        self._owner_resolver = OwnerResolver(self._inventory)
        self._shape_key: Any = None
        self._shape: Shape = ()
        self._series: _SeriesByColumn = {}
        self.set_rows(rows)

    def set_rows(self, rows: Iterable[MetricSpec]) -> None:
        """Collect these rows from the next report on. All counters keep their values."""
        by_kind: dict[EntityKind, list[MetricSpec]] = {}
        for row in rows:
            by_kind.setdefault(row.entity_kind, []).append(row)
        # Runtimes last: the limits drop the last series.
        kinds = sorted(by_kind, key=RUNTIME_KINDS.__contains__)
        self._rows = {kind: tuple(by_kind[kind]) for kind in kinds}

    def collect(
        self,
        report: Report,
        at: Timestamp,
        machine: Machine,
        owners: Owners,
        hardware: HardwareReadings = NO_READINGS,
    ) -> CollectResult:
        """Make the snapshot of a report that was read at `at`."""
        report_period = self._period.observe(report, at.monotonic)
        report = self._last_readings.complete(report, at.monotonic)
        self._inventory.update(report)
        if self._scope is not None:
            self._scope.update(self._inventory)
        self._driver.update(hardware, report)
        aggregation = ReportAggregation(
            report,
            self._counters,
            self._gaps,
            machine=machine,
            owners=self._owner_resolver.resolve(report.neuron_k8s_info, owners, at.monotonic),
            cache=self._cache,
            inventory=self._inventory,
            driver=self._driver,
            options=ReadOptions(self._scope, self._last_readings.repeated, self._period.fresh_for),
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
            self._shape = self._shape_of(rows_by_kind, tables)
        dropped += len(values) - len(self._shape)
        del values[len(self._shape) :]
        snapshot = Snapshot(
            shape=self._shape,
            values=tuple(values),
            taken_at=at,
            fresh_for=self._period.fresh_for,
            machine=machine,
            health=Health(SourceState.OK if self._inventory.has_driver else SourceState.NO_DRIVER),
            kinds=frozenset(rows_by_kind),
            cores_per_device=self._inventory.cores_per_device,
        )
        status = aggregation.status
        return CollectResult(
            snapshot,
            report_period,
            status.groups_read,
            status.error_counts,
            status.error_texts,
            status.unknown_names,
            runtimes_dropped=status.runtimes_dropped,
            series_dropped=dropped,
            series_evicted=status.series_evicted,
            processes=aggregation.processes,
            used_cores=aggregation.used_cores,
        )

    def _shape_of(
        self,
        rows_by_kind: Mapping[EntityKind, tuple[MetricSpec, ...]],
        tables: Mapping[EntityKind, Table],
    ) -> Shape:
        """Return the series, including those without a value now, in the order of the values, up
        to `MAX_LABEL_BYTES`.

        A series that the previous shape has stays the same object, so that a sink needs to prepare
        only what is new.
        """
        shape: list[Series] = []
        known, self._series = self._series, {}
        left = MAX_LABEL_BYTES
        for kind, rows in rows_by_kind.items():
            table = tables[kind]
            sizes = [_length(entity.labels) for entity in table.entities]
            for row in rows:
                begin = len(shape)
                for split_value, starts in _columns(row, table):
                    before = known.get((row, split_value), {})
                    column = self._series[row, split_value] = {}
                    split_label = ((row.split_by, split_value),) if row.split_by else ()
                    common = _length((*row.constant_labels, *split_label))
                    for entity, size, start in zip(table.entities, sizes, starts, strict=True):
                        left -= size + common
                        if left < 0:
                            return tuple(shape)
                        series = before.get(entity.labels)
                        if series is None or series.owner is not entity.owner:
                            labels = (*_labels(row, entity), *row.constant_labels, *split_label)
                            series = Series(row, labels, split_value, entity.owner, start)
                        elif series.start_value != start:
                            series = replace(series, start_value=start)
                        column[entity.labels] = series
                        shape.append(series)
                _truncate(shape, begin)
        return tuple(shape)


def _truncate(items: list[Any], begin: int) -> int:
    """Drop the excess items of the metric that begins at `begin`; return their number."""
    excess = max(len(items) - begin - MAX_SERIES_PER_METRIC, len(items) - MAX_SERIES, 0)
    excess = min(excess, len(items) - begin)
    if excess:
        del items[-excess:]
    return excess


def _length(labels: Labels) -> int:
    """Return the length of labels in UTF-8, at most 4 bytes for each character."""
    return sum(len(part) * (1 if part.isascii() else 4) for label in labels for part in label)


def _columns(row: MetricSpec, table: Table) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield the split value of each column of a row, empty if not split, and the start values."""
    reading = row.read(table)
    zeros = [0.0] * len(table.entities)
    if isinstance(reading, dict):
        start_values = row.read_start(table) if row.read_start else {}
        for name in reading:
            yield name, start_values.get(name, zeros)
    else:
        yield "", zeros


def _labels(row: MetricSpec, entity: Entity) -> Labels:
    """Return the entity's labels, without those of the owner for counters of a core or device.

    Such a counter goes on when its entity changes owner: it must neither start again under other
    labels nor exist twice.
    """
    if row.entity_kind not in _COUNTED_UNDER_ALL_OWNERS or row.kind is not MetricKind.COUNTER:
        return entity.labels
    owner_labels = entity.owner.labels()
    return tuple(label for label in entity.labels if label not in owner_labels)
