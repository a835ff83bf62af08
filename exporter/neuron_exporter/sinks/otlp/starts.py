"""Start times of counters.

OTLP's cumulative sums say since when they count. A counter starts with the exporter, or with the
last report that did not have it. It keeps its start: restarts of neuron-monitor, owners that come
and go, and reloads that deselect it for a while do not reset it.

The first value of some counters is a total of the driver, not an increase. They start with their
first point, as OpenTelemetry's data model asks for streams with an unknown start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from neuron_exporter.model import Labels, MetricKind, MetricSpec, Shape, Snapshot, Value

CounterKey = tuple[MetricSpec, Labels]

Starts = Mapping[CounterKey, float]
"""Start times (Unix seconds) by the key of the counter."""

MAX_DESELECTED = 5000
"""Deselected counters that are remembered; beyond this number, the oldest is forgotten."""


class StartTimes:
    """Start times of the counters of one report after the other."""

    def __init__(self, started: float, interval: float, rows: Iterable[MetricSpec]) -> None:
        """`started` is when the exporter started. Points have the times of the intervals' ends."""
        self._interval = interval
        self._shape: Shape | None = None
        self._values: tuple[Value, ...] = ()
        self._before = started
        self._starts: Starts = {}
        self._deselected: dict[CounterKey, tuple[float, float]] = {}
        self.select(rows)

    def select(self, rows: Iterable[MetricSpec]) -> None:
        """Expect these rows from the next report on. Any thread may call it."""
        self._rows = frozenset(rows)

    def observe(self, snapshot: Snapshot) -> Starts:
        """Return the start times of a report's counters, which do not change any more."""
        wall = snapshot.taken_at.wall
        if snapshot.shape is not self._shape:
            self._remember(snapshot.shape)
            self._starts = self._find(snapshot)
            self._shape = snapshot.shape
        self._values = snapshot.values
        if wall < self._before:  # the clock was set back: no counter starts in the future
            self._starts = {key: min(start, wall) for key, start in self._starts.items()}
        self._before = wall
        return self._starts

    def _remember(self, shape: Shape) -> None:
        """Remember the deselected counters of the last report, with their values."""
        remaining = set(_counters(shape))
        for key, index in _counters(self._shape or ()).items():
            value = self._values[index]
            is_deselected = key not in remaining and key[0] not in self._rows
            if is_deselected and isinstance(value, int | float):
                self._deselected[key] = self._starts[key], value
        while len(self._deselected) > MAX_DESELECTED:
            del self._deselected[next(iter(self._deselected))]

    def _find(self, snapshot: Snapshot) -> Starts:
        """Return the starts of the counters of a report with another shape than the last one."""
        starts: dict[CounterKey, float] = {}
        for key, index in _counters(snapshot.shape).items():
            start = self._starts.get(key)
            before = self._deselected.pop(key, None)
            value = snapshot.values[index]
            if start is None and before and isinstance(value, int | float) and value >= before[1]:
                start = before[0]
            if start is None:
                has_total = bool(snapshot.shape[index].start_value)
                start = self._first_point(snapshot.taken_at.wall) if has_total else self._before
            starts[key] = start
        return starts

    def _first_point(self, wall: float) -> float:
        """Return the time of the first point after a moment."""
        return math.floor(wall / self._interval + 1) * self._interval


def _counters(shape: Shape) -> dict[CounterKey, int]:
    """Return the index of each counter."""
    return {
        series.counter_key(): index
        for index, series in enumerate(shape)
        if series.spec.kind is MetricKind.COUNTER
    }
