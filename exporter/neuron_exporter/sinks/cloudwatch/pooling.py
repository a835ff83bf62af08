"""Which series make which metric, for the machine and for each of its workloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from neuron_exporter.model import (
    CloudWatchMetric,
    Kind,
    MetricSpec,
    Pooling,
    Selection,
    Series,
    Shape,
    Value,
)
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, dimensions_of

MACHINE: Dimensions = ()
"""The pool of all series; each other pool is known by the dimensions of its holder."""

Holders = Collection[tuple[str, ...]]
"""By which of the holder's dimensions to pool; none of them for the machine."""

WHOLE_MACHINE: Holders = ((),)

Key = tuple[Dimensions, str]
"""A pool and the name of a metric: what is gathered as one."""

_OF_THE_MACHINE = frozenset({Pooling.MACHINE, Pooling.HEARTBEAT})


class Gauge(NamedTuple):
    """A metric that gets one value a reading, or one distribution, from each of its series."""

    key: Key
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


class Tally(NamedTuple):
    """A metric that gets one value a reading: how many of the holder's series are above 0. Only
    while the machine's own value, at `whole`, is known: else some may not have been read."""

    key: Key
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    whole: int


class Delta(NamedTuple):
    """A metric that gets the rise of its counters, which are given by their places in
    `Plan.counters`."""

    key: Key
    places: tuple[int, ...]


class Plan:
    """One shape as CloudWatch sees it."""

    def __init__(
        self, shape: Shape, selection: Selection, holders: Holders = WHOLE_MACHINE
    ) -> None:
        self.shape = shape
        self.gauges: list[Gauge] = []
        self.distributions: list[Gauge] = []
        self.tallies: list[Tally] = []
        self.deltas: list[Delta] = []
        self._by_row: dict[MetricSpec, list[int]] = {}
        for index, series in enumerate(shape):
            self._by_row.setdefault(series.spec, []).append(index)
        self._places: dict[int, int] = {}
        for row in selection.rows:
            for metric in row.cloudwatch:
                if metric.name in selection.names:
                    for names in holders:
                        self._add(row, metric, names)
        self.counters = tuple(self._places)
        """Indices of all series whose rise is wanted, each once."""

    def _add(self, row: MetricSpec, metric: CloudWatchMetric, names: tuple[str, ...]) -> None:
        if not names:
            self._feed(row, metric, MACHINE, self._fed_by(row, metric))
            return
        source = row.per_owner or row
        if metric.pooling in _OF_THE_MACHINE and source is row:
            return  # nobody's in particular
        for pool, indices in self._held(source, metric, names):
            if metric.pooling is Pooling.MACHINE:
                (whole,) = self._by_row[row]
                self.tallies.append(Tally((pool, metric.name), _picker(indices), whole))
            else:
                self._feed(source, metric, pool, indices)

    def _feed(
        self, row: MetricSpec, metric: CloudWatchMetric, pool: Dimensions, indices: list[int]
    ) -> None:
        key = pool, metric.name
        if not indices:
            return
        if metric.pooling is Pooling.DELTA:
            places = self._places
            own = tuple(places.setdefault(index, len(places)) for index in indices)
            self.deltas.append(Delta(key, own))
        elif row.kind is Kind.DISTRIBUTION:
            self.distributions.append(Gauge(key, _picker(indices)))
        else:
            self.gauges.append(Gauge(key, _picker(indices)))

    def _fed_by(self, row: MetricSpec, metric: CloudWatchMetric) -> list[int]:
        return [i for i in self._by_row.get(row, ()) if _feeds(self.shape[i], metric)]

    def _held(
        self, row: MetricSpec, metric: CloudWatchMetric, names: tuple[str, ...]
    ) -> Iterator[tuple[Dimensions, list[int]]]:
        """The holders of a row's series, and what each holds."""
        pools: dict[Dimensions, list[int]] = {}
        for index in self._fed_by(row, metric):
            pool = dimensions_of(self.shape[index].owner, names)
            if pool is not None:
                pools.setdefault(pool, []).append(index)
        yield from pools.items()


def counted(values: tuple[Value, ...]) -> float:
    """How many are above 0."""
    return float(sum(map(bool, values)))


def _picker(indices: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes the values at these indices, as a tuple also when there is only one."""
    if len(indices) == 1:
        return itemgetter(slice(indices[0], indices[0] + 1))
    return itemgetter(*indices)


def _feeds(series: Series, metric: CloudWatchMetric) -> bool:
    if metric.only:
        return series.by in metric.only
    return series.by not in metric.all_but
