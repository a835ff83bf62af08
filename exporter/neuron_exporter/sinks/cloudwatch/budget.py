"""Keeps what is published within a number of metrics.

What is dropped is a metric in a dimension set, with all machines' or workloads' values of it: the
finest sets first, in a set what the smaller presets leave out first, and never what is kept. What
would be published is judged by the largest number of each in the last day, so that something that
comes and goes does not make metrics come and go.

CloudWatch bills a metric for each clock hour in which it gets a value. Within an hour nothing is
published that was not yet, once the number is reached: a drop takes back nothing that was billed.
In the first hour there is room for all metrics of the machine, though some come later than others:
a latency when something has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from neuron_exporter.model import Pooling, Selection
from neuron_exporter.sinks.cloudwatch.datums import Measured
from neuron_exporter.sinks.cloudwatch.dimensions import ONE_MACHINE, Dimensions, of_holder
from neuron_exporter.sinks.cloudwatch.settings import Settings

HOUR = 3600.0

REMEMBERED_HOURS = 24

MOST_COUNTED = 10_000
"""Different dimensions of one metric in a set that are counted: a bound on memory."""

Unit = tuple[tuple[str, ...], str]
"""What is dropped: a dimension set as it was configured, and a metric's name."""


class Spending(NamedTuple):
    """What the budget says: how many metrics are wanted, of how many, and what is not published
    for that; `waiting` are those that the next hour will have room for."""

    wanted: int = 0
    limit: int | None = None
    dropped: Mapping[Unit, int] = {}
    waiting: int = 0
    published: int = 0

    @property
    def exceeded(self) -> bool:
        """Whether what is never dropped is more than the budget allows."""
        return self.limit is not None and self.published > self.limit

    @property
    def lost(self) -> int:
        """How many metrics are not published now."""
        return sum(self.dropped.values()) + self.waiting

    def told(self) -> list[str]:
        """What is dropped, set by set, for people."""
        by_set: dict[tuple[str, ...], list[str]] = {}
        for names, metric in self.dropped:
            by_set.setdefault(names, []).append(metric)
        return [f"{', '.join(metrics)} in [{', '.join(s)}]" for s, metrics in by_set.items()]


class Budget:
    """Admits metrics; for one thread. Without a `limit` it admits all, and counts them."""

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self._hour = -1
        self._wanted: dict[Unit, set[Dimensions]] = {}
        self._earlier: dict[int, dict[Unit, int]] = {}
        self._published: set[tuple[str, Dimensions]] = set()
        self.change(settings, selection)

    def change(self, settings: Settings, selection: Selection) -> None:
        """Go by these from now on. What is wanted no more is judged no more; what was published in
        this hour has been billed, and still takes its place until the hour is over."""
        self.spending = Spending(limit=settings.limit)
        self._limit = settings.limit
        self._kept = kept(selection, settings.keep)
        self._order = _order(settings, selection)
        self._expected = {
            (tuple(names), name): 1
            for names in settings.dimension_sets
            if not of_holder(names, settings.holder, settings.extra_dimensions)
            for name in selection.names
        }
        sets = set(map(tuple, settings.dimension_sets))
        demands: tuple[dict[Unit, Any], ...] = (self._wanted, *self._earlier.values())
        for demand in demands:
            for unit in [u for u in demand if u[0] not in sets or u[1] not in selection.names]:
                del demand[unit]

    def admit(self, measured: Sequence[Measured], now: float) -> list[Measured]:
        """Those that may be published at this moment (Unix seconds), in the same order."""
        self._turn(int(now // HOUR))
        for each in measured:
            wanted = self._wanted.setdefault(_unit(each), set())
            if len(wanted) < MOST_COUNTED:
                wanted.add(each.dimensions)
        demand = self._demand()
        dropped = self._dropped({**({} if self._earlier else self._expected), **demand})
        left = [each for each in measured if _unit(each) not in dropped]
        admitted = self._within_hour(left)
        waiting = len({_metric(each) for each in left}) - len({_metric(e) for e in admitted})
        missing = {unit: number for unit, number in dropped.items() if unit in demand}
        self.spending = Spending(sum(demand.values()), self._limit, missing, waiting, len(admitted))
        return admitted

    def _turn(self, hour: int) -> None:
        if hour == self._hour:
            return
        self._earlier[self._hour] = {unit: len(wanted) for unit, wanted in self._wanted.items()}
        self._hour = hour
        # Two ends: a clock that was set back has hours ahead of it that were none.
        for old in [h for h in self._earlier if not hour - REMEMBERED_HOURS <= h < hour]:
            del self._earlier[old]
        self._wanted.clear()
        self._published.clear()

    def _demand(self) -> dict[Unit, int]:
        """The largest number of each in this hour and those that are remembered."""
        demand = {unit: len(wanted) for unit, wanted in self._wanted.items()}
        for counts in self._earlier.values():
            for unit, number in counts.items():
                demand[unit] = max(demand.get(unit, 0), number)
        return demand

    def _dropped(self, demand: Mapping[Unit, int]) -> dict[Unit, int]:
        dropped: dict[Unit, int] = {}
        if self._limit is None:
            return dropped
        excess = sum(demand.values()) - self._limit
        for unit in sorted(demand, key=self._order, reverse=True):
            if excess <= 0:
                break
            if unit[1] not in self._kept:
                dropped[unit] = demand[unit]
                excess -= demand[unit]
        return dropped

    def _within_hour(self, measured: Sequence[Measured]) -> list[Measured]:
        """Those that were published in this hour already, and others while there is room."""
        if self._limit is None:
            return list(measured)
        published = self._published
        published.update(_metric(each) for each in measured if each.metric.name in self._kept)
        for each in sorted(measured, key=lambda each: self._order(_unit(each))):
            if len(published) < self._limit:
                published.add(_metric(each))
        return [each for each in measured if _metric(each) in published]


def kept(selection: Selection, keep: Iterable[str]) -> frozenset[str]:
    """The names that are never dropped: the heartbeat, and what matches one of the globs."""
    globs = tuple(keep)
    return frozenset(
        metric.name
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.name in selection.names
        and (
            metric.pooling is Pooling.HEARTBEAT
            or any(fnmatchcase(metric.name, glob) for glob in globs)
        )
    )


def _order(settings: Settings, selection: Selection) -> Callable[[Unit], tuple[int, ...]]:
    """What sorts from the coarsest set to the finest, in a set from the most wanted metric on."""
    sets = {
        tuple(names): (
            bool(of_holder(names, settings.holder, settings.extra_dimensions)),
            not ONE_MACHINE.isdisjoint(names),
            len(names),
            at,
        )
        for at, names in enumerate(settings.dimension_sets)
    }
    metrics = {
        metric.name: (metric.preset, at)
        for at, row in enumerate(selection.rows)
        for metric in row.cloudwatch
    }
    return lambda unit: (*sets[unit[0]], *metrics[unit[1]])


def _unit(measured: Measured) -> Unit:
    return measured.names, measured.metric.name


def _metric(measured: Measured) -> tuple[str, Dimensions]:
    return measured.metric.name, measured.dimensions
