"""Assignment of series to the CloudWatch metrics that pool them, for the machine and each owner."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from neuron_exporter.model import (
    CloudWatchMetric,
    MetricKind,
    MetricSpec,
    Pooling,
    Selection,
    Series,
    Shape,
    Value,
)
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, owner_values
from neuron_exporter.sinks.picker import Picker, picker

MACHINE_POOL: Dimensions = ()
"""The pool of all series. Every other pool is identified by the dimensions of its owner."""

Groupings = Collection[tuple[str, ...]]
"""Groups of owner dimensions to pool by; the empty group pools the whole machine."""

WHOLE_MACHINE: Groupings = ((),)

PoolKey = tuple[Dimensions, str]
"""A pool and the name of a metric."""

_MACHINE_ONLY = frozenset({Pooling.MACHINE, Pooling.HEARTBEAT})


class PooledGauge(NamedTuple):
    """A metric that receives one value, or one distribution, per report from each of its series."""

    key: PoolKey
    pick: Picker


class PooledActiveCount(NamedTuple):
    """A metric that receives one value per report: how many of the owner's series are above 0.

    It receives none if the machine's own value, at `machine_index`, is absent: some series may then
    not have been read.
    """

    key: PoolKey
    pick: Picker
    machine_index: int


class PooledDelta(NamedTuple):
    """A metric that receives the increase of its counters, by index in `PoolingPlan.counters`."""

    key: PoolKey
    positions: tuple[int, ...]


class PoolingPlan:
    """The pools of one shape."""

    def __init__(
        self, shape: Shape, selection: Selection, groupings: Groupings = WHOLE_MACHINE
    ) -> None:
        self.shape = shape
        self.gauges: list[PooledGauge] = []
        self.distributions: list[PooledGauge] = []
        self.active_counts: list[PooledActiveCount] = []
        self.deltas: list[PooledDelta] = []
        self._by_row: dict[MetricSpec, list[int]] = {}
        for index, series in enumerate(shape):
            self._by_row.setdefault(series.spec, []).append(index)
        self._positions: dict[int, int] = {}
        for row in selection.rows:
            for metric in row.cloudwatch:
                if metric.name in selection.names:
                    for names in groupings:
                        self._add(row, metric, names)
        self.counters = tuple(self._positions)
        """Indices of all counters that metrics need, each once."""

    def _add(self, row: MetricSpec, metric: CloudWatchMetric, names: tuple[str, ...]) -> None:
        if not names:
            self._add_pool(row, metric, MACHINE_POOL, self._indices(row, metric))
            return
        source = row.per_owner or row
        if has_no_owner(row, metric):
            return
        for pool, indices in self._by_owner(source, metric, names).items():
            if metric.pooling is Pooling.MACHINE:
                (machine_index,) = self._by_row[row]
                self.active_counts.append(
                    PooledActiveCount((pool, metric.name), picker(indices), machine_index)
                )
            else:
                self._add_pool(source, metric, pool, indices)

    def _add_pool(
        self, row: MetricSpec, metric: CloudWatchMetric, pool: Dimensions, indices: list[int]
    ) -> None:
        key = pool, metric.name
        if not indices:
            return
        if metric.pooling is Pooling.DELTA:
            positions = self._positions
            own = tuple(positions.setdefault(index, len(positions)) for index in indices)
            self.deltas.append(PooledDelta(key, own))
        elif row.kind is MetricKind.DISTRIBUTION:
            self.distributions.append(PooledGauge(key, picker(indices)))
        else:
            self.gauges.append(PooledGauge(key, picker(indices)))

    def _indices(self, row: MetricSpec, metric: CloudWatchMetric) -> list[int]:
        return [i for i in self._by_row.get(row, ()) if _belongs(self.shape[i], metric)]

    def _by_owner(
        self, row: MetricSpec, metric: CloudWatchMetric, names: tuple[str, ...]
    ) -> dict[Dimensions, list[int]]:
        """Return the indices of a row's series by owner."""
        pools: dict[Dimensions, list[int]] = {}
        for index in self._indices(row, metric):
            pool = owner_values(self.shape[index].owner, names)
            if pool is not None:
                pools.setdefault(pool, []).append(index)
        return pools


def has_no_owner(row: MetricSpec, metric: CloudWatchMetric) -> bool:
    """Return whether a metric belongs to the machine only."""
    return metric.pooling in _MACHINE_ONLY and row.per_owner in (None, row)


def count_active(values: tuple[Value, ...]) -> float:
    """Return how many values are above 0."""
    return float(sum(map(bool, values)))


def _belongs(series: Series, metric: CloudWatchMetric) -> bool:
    return not metric.only or series.split_value in metric.only
