"""Windows of readings, aligned to the wall clock.

A window keeps each value with its number of occurrences, from which CloudWatch computes
percentiles, and the increase of counters. Distributions, which have thousands of values, are
gathered in buckets. The reader's thread adds snapshots, the sink's thread takes windows.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from neuron_exporter.model import EntityKind, Labels, MetricSpec, Selection, Shape, Snapshot
from neuron_exporter.sinks.cloudwatch.buckets import LogarithmicBuckets
from neuron_exporter.sinks.cloudwatch.pooling import (
    WHOLE_MACHINE,
    Groupings,
    PoolingPlan,
    PoolKey,
    count_active,
)

MAX_OPEN = 64
"""Windows that may wait to be taken. If sending takes longer than a window, they accumulate; beyond
this number, the oldest is dropped and counted."""


@dataclass(slots=True)
class Window:
    """Readings from `start` (Unix seconds) until the start of the next window.

    `last_snapshot` is the newest snapshot at its end; it shows whether the source is alive. The
    `distributions` are added to `values` when the window is taken.
    """

    start: float
    values: dict[PoolKey, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    distributions: dict[PoolKey, LogarithmicBuckets] = field(
        default_factory=lambda: defaultdict(LogarithmicBuckets)
    )
    deltas: dict[PoolKey, float] = field(default_factory=lambda: defaultdict(float))
    last_snapshot: Snapshot | None = None

    def taken(self) -> Window:
        """Return the window with the values of its distributions."""
        for key, buckets in self.distributions.items():
            self.values[key] = buckets.value_counts()
        return self

    def alive(self, end: float) -> bool:
        """Return whether the source was alive at `end`, the end of the window (Unix seconds)."""
        return self.last_snapshot is not None and _is_alive(self.last_snapshot, end)


class Windows:
    """Open windows of `interval` seconds."""

    def __init__(
        self, selection: Selection, interval: float, groupings: Groupings = WHOLE_MACHINE
    ) -> None:
        self.interval = interval
        self._selection = selection
        self._groupings = groupings
        self._lock = threading.Lock()
        self._open: dict[float, Window] = {}
        self._latest: Snapshot | None = None
        self._taken_until = 0.0
        self._lost = 0
        self._plan = PoolingPlan((), selection, groupings)
        self._last: list[float | None] = []
        self._remembered: dict[tuple[MetricSpec, Labels], float] = {}
        self._new_rows: frozenset[MetricSpec] = frozenset()
        self._new_since = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def start_of(self, wall: float) -> float:
        """Return the start of the window that contains a moment."""
        return wall - wall % self.interval

    def add(self, snapshot: Snapshot) -> None:
        """Add the readings of one report."""
        with self._lock:
            start = self.start_of(snapshot.taken_at.wall)
            self._open_skipped(start)
            window = self._window(start)
            window.last_snapshot = self._latest = snapshot
            if snapshot.shape is not self._plan.shape:
                self._replan(snapshot.shape)
            values = snapshot.values
            if self._new_rows:
                self._set_baselines(values, self._new_rows)
                if snapshot.taken_at.monotonic >= self._new_since:
                    self._new_rows = frozenset()
            for key, pick in self._plan.gauges:
                counts = window.values[key]
                counts.update(pick(values))
                del counts[None]  # absent values
            for key, pick, machine_index in self._plan.active_counts:
                if values[machine_index] is not None:
                    window.values[key][count_active(pick(values))] += 1
            for key, pick in self._plan.distributions:
                for distribution in filter(None, pick(values)):
                    window.distributions[key].add(distribution)
            increases = self._increases(values)
            for key, positions in self._plan.deltas:
                window.deltas[key] += sum(increases[position] for position in positions)

    def reselect(self, selection: Selection, groupings: Groupings, monotonic: float) -> None:
        """Collect for another selection from now on, also in the open windows.

        A counter that was selected before continues. A new one starts at its value in the latest
        snapshot or, if it is not there yet, at its first value. Snapshots taken after `monotonic`
        must contain all rows of the selection.
        """
        with self._lock:
            old, before = self._plan, self._selection
            self._selection, self._groupings = selection, groupings
            collected = (series.spec for series in old.shape)
            self._new_rows = frozenset(selection.rows).difference(before.rows, collected)
            self._new_since = monotonic
            self._replan(old.shape)
            kept = {self._plan.shape[index].counter_key() for index in self._plan.counters}
            gone = {old.shape[index].counter_key() for index in old.counters} - kept
            for key in [k for k in self._remembered if k in gone or k[0] not in selection.rows]:
                del self._remembered[key]
            if self._latest is not None:
                self._set_baselines(self._latest.values, frozenset(selection.rows))

    def take(self, until: float) -> list[Window]:
        """Remove and return all windows that start before `until`, oldest first.

        The last one is returned even if it is empty, for its heartbeat.
        """
        with self._lock:
            self._taken_until = until
            last = self.start_of(until - self.interval / 2)
            if last not in self._open:
                self._window(last)
            taken = [self._open.pop(start) for start in sorted(self._open) if start < until]
        return [window.taken() for window in taken]

    def pop_lost_count(self) -> int:
        """Return how many windows were dropped since the last call."""
        with self._lock:
            count, self._lost = self._lost, 0
            return count

    def take_rest(self) -> list[Window]:
        """Remove and return all windows with readings, oldest first. Some are in the future if the
        clock was set back."""
        with self._lock:
            left = [self._open.pop(start).taken() for start in sorted(self._open)]
            return [window for window in left if window.values or window.deltas]

    def _window(self, start: float) -> Window:
        window = self._open.get(start)
        if window is None:
            while len(self._open) >= MAX_OPEN:
                del self._open[min(self._open)]
                self._lost += 1
            latest = self._latest
            before = latest is not None and latest.taken_at.wall < start + self.interval
            window = self._open[start] = Window(start, last_snapshot=latest if before else None)
        return window

    def _open_skipped(self, until: float) -> None:
        """Open the windows before `until` in which the source was alive but sent no report, while
        `_latest` is still the snapshot that shows it."""
        latest = self._latest
        if latest is None:
            return
        start = max(self._after(self.start_of(latest.taken_at.wall)), self._taken_until)
        while start < until and _is_alive(latest, start + self.interval):
            self._window(start)
            start = self._after(start)

    def _after(self, start: float) -> float:
        """Return the start of the next window, rounded as every other start."""
        return self.start_of(start + 1.5 * self.interval)

    def _replan(self, shape: Shape) -> None:
        """Prepare for another shape. Remember the last value of counters that are gone, since they
        may return. Counters of runtimes are not remembered: a new runtime starts from zero."""
        old = self._plan
        self._remembered.update(
            (old.shape[index].counter_key(), last)
            for index, last in zip(old.counters, self._last, strict=True)
            if last is not None
        )
        self._plan = PoolingPlan(shape, self._selection, self._groupings)
        counters = [shape[index] for index in self._plan.counters]
        self._last = [self._remembered.pop(series.counter_key(), None) for series in counters]
        of_runtimes = EntityKind.RUNTIME_TOTALS
        for key in [key for key in self._remembered if key[0].entity_kind is of_runtimes]:
            del self._remembered[key]

    def _set_baselines(self, values: tuple[Any, ...], rows: Collection[MetricSpec]) -> None:
        """For the counters of these rows without a last value, record these values."""
        for position, index in enumerate(self._plan.counters):
            if self._last[position] is None and self._plan.shape[index].spec in rows:
                self._last[position] = values[index]

    def _increases(self, values: tuple[Any, ...]) -> list[float]:
        """Return the increase of each counter. A counter that fell was reset. The increase of a
        counter without a value is 0."""
        shape, counters = self._plan.shape, self._plan.counters
        increases = []
        for position, index in enumerate(counters):
            value, last = values[index], self._last[position]
            if value is None or value == last:
                increases.append(0.0)
                continue
            started = last is None or value < last
            increases.append(value - (shape[index].start_value if started else last))
            self._last[position] = value
        return increases


def _is_alive(snapshot: Snapshot, wall: float) -> bool:
    """Return whether the source is alive at a moment (Unix seconds), by its last snapshot."""
    return snapshot.health.alive and snapshot.is_fresh_at(wall)
