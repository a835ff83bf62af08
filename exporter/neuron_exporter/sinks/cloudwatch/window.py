"""Gathers readings in windows that are aligned to the wall clock.

A window keeps each value and how often it came, so that percentiles survive, and the rise of
counters. Offered to by the reader's thread and taken from by the sink's.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from neuron_exporter.model import Labels, MetricSpec, Place, Selection, Shape, Snapshot
from neuron_exporter.sinks.cloudwatch.pooling import WHOLE_MACHINE, Holders, Key, Plan, counted

MOST_OPEN = 64
"""Windows that wait to be taken. A sink whose windows are shorter than an answer takes leaves some
behind; the oldest of too many is lost, and counted."""


@dataclass(slots=True)
class Window:
    """What was gathered from `start` (Unix seconds) until the next window.

    `seen` is the last snapshot known at its end; it tells whether the source lived.
    """

    start: float
    values: dict[Key, Counter[Any]] = field(default_factory=dict)
    rises: dict[Key, float] = field(default_factory=dict)
    seen: Snapshot | None = None

    def gathered(self, key: Key) -> Counter[Any]:
        """The values of a pool's metric and how often each came, to be added to."""
        found = self.values.get(key)
        if found is None:
            found = self.values[key] = Counter()
        return found

    def alive(self, end: float) -> bool:
        """Whether the source lived at `end`, the end of the window (Unix seconds)."""
        return self.seen is not None and _lives(self.seen, end)


class Windows:
    """The windows that are open. `interval` is their length in seconds."""

    def __init__(
        self, selection: Selection, interval: float, holders: Holders = WHOLE_MACHINE
    ) -> None:
        self.interval = interval
        self._selection = selection
        self._holders = holders
        self._lock = threading.Lock()
        self._open: dict[float, Window] = {}
        self._latest: Snapshot | None = None
        self._taken_until = 0.0
        self._lost = 0
        self._plan = Plan((), selection, holders)
        self._last: list[float | None] = []
        self._remembered: dict[tuple[MetricSpec, Labels], float] = {}
        self._new_rows: frozenset[MetricSpec] = frozenset()
        self._new_since = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def start_of(self, wall: float) -> float:
        """The start of the window that a moment belongs to."""
        return wall - wall % self.interval

    def add(self, snapshot: Snapshot) -> None:
        """Gather one report's readings."""
        with self._lock:
            start = self.start_of(snapshot.taken_at.wall)
            self._pass_over(start)
            window = self._window(start)
            window.seen = self._latest = snapshot
            if snapshot.shape is not self._plan.shape:
                self._replan(snapshot.shape)
            values = snapshot.values
            if self._new_rows:
                self._begin_at(values, self._new_rows)
                if snapshot.taken_at.monotonic >= self._new_since:
                    self._new_rows = frozenset()
            for key, pick in self._plan.gauges:
                gathered = window.gathered(key)
                gathered.update(pick(values))
                del gathered[None]  # counted, but no reading
            for key, pick, whole in self._plan.tallies:
                if values[whole] is not None:
                    window.gathered(key)[counted(pick(values))] += 1
            for key, pick in self._plan.distributions:
                gathered = window.gathered(key)
                for distribution in pick(values):
                    for value, count in distribution or ():
                        gathered[value] += count
            rises = self._rises(values)
            for key, places in self._plan.deltas:
                rise = sum(rises[place] for place in places)
                window.rises[key] = window.rises.get(key, 0.0) + rise

    def reselect(self, selection: Selection, holders: Holders, monotonic: float) -> None:
        """Gather for another selection from now on, in the windows that are open, too.

        What was counted before goes on from where it stood. What was not begins at its present
        value: at that of the latest snapshot, or where it is in none yet, at the first one. Those
        that are taken after `monotonic` must hold all rows of the selection.
        """
        with self._lock:
            old, before = self._plan, self._selection
            self._selection, self._holders = selection, holders
            shown = (series.spec for series in old.shape)
            self._new_rows = frozenset(selection.rows).difference(before.rows, shown)
            self._new_since = monotonic
            self._replan(old.shape)
            kept = {self._plan.shape[index].counts() for index in self._plan.counters}
            gone = {old.shape[index].counts() for index in old.counters} - kept
            for key in [k for k in self._remembered if k in gone or k[0] not in selection.rows]:
                del self._remembered[key]
            if self._latest is not None:
                self._begin_at(self._latest.values, frozenset(selection.rows))

    def take(self, until: float) -> list[Window]:
        """Remove and give all windows that begin before `until`, oldest first.

        The last window before `until` is given even if it is empty: that nothing came is news.
        """
        with self._lock:
            self._taken_until = until
            last = self.start_of(until - self.interval / 2)
            if last not in self._open:
                self._window(last)
            return [self._open.pop(start) for start in sorted(self._open) if start < until]

    def lost(self) -> int:
        """How many windows were lost since the last time."""
        with self._lock:
            number, self._lost = self._lost, 0
            return number

    def rest(self) -> list[Window]:
        """Remove and give all windows in which something came, oldest first: also those that a
        clock which has been set back has left ahead of now."""
        with self._lock:
            left = [self._open.pop(start) for start in sorted(self._open)]
            return [window for window in left if window.values or window.rises]

    def _window(self, start: float) -> Window:
        window = self._open.get(start)
        if window is None:
            while len(self._open) >= MOST_OPEN:
                del self._open[min(self._open)]
                self._lost += 1
            known = self._latest
            before = known is not None and known.taken_at.wall < start + self.interval
            window = self._open[start] = Window(start, seen=known if before else None)
        return window

    def _pass_over(self, until: float) -> None:
        """Open the windows before `until` through which the source lived without a report.

        Made after `_latest` is replaced, they would look as if it had been dead.
        """
        latest = self._latest
        if latest is None:
            return
        start = max(self._after(self.start_of(latest.taken_at.wall)), self._taken_until)
        while start < until and _lives(latest, start + self.interval):
            self._window(start)
            start = self._after(start)

    def _after(self, start: float) -> float:
        """The start of the next window, by the same rounding as that of every other."""
        return self.start_of(start + 1.5 * self.interval)

    def _replan(self, shape: Shape) -> None:
        """Prepare for another shape; what counters stood at is remembered for their return, but
        for those of runtimes: one that has gone has ended, and would begin again."""
        old = self._plan
        self._remembered.update(
            (old.shape[index].counts(), last)
            for index, last in zip(old.counters, self._last, strict=True)
            if last is not None
        )
        self._plan = Plan(shape, self._selection, self._holders)
        counters = [shape[index] for index in self._plan.counters]
        self._last = [self._remembered.pop(series.counts(), None) for series in counters]
        for ended in [key for key in self._remembered if key[0].place is Place.RUNTIME]:
            del self._remembered[ended]

    def _begin_at(self, values: tuple[Any, ...], rows: Collection[MetricSpec]) -> None:
        """Let counters of these rows that have not begun begin at these values."""
        for place, index in enumerate(self._plan.counters):
            if self._last[place] is None and self._plan.shape[index].spec in rows:
                self._last[place] = values[index]

    def _rises(self, values: tuple[Any, ...]) -> list[float]:
        """By how much each counter rose. One that fell has begun again, as has one that is new;
        one without a value stands where it stood."""
        shape, counters = self._plan.shape, self._plan.counters
        rises = []
        for place, index in enumerate(counters):
            value, last = values[index], self._last[place]
            if value is None or value == last:
                rises.append(0.0)
                continue
            begun = last is None or value < last
            rises.append(value - (shape[index].start if begun else last))
            self._last[place] = value
        return rises


def _lives(snapshot: Snapshot, wall: float) -> bool:
    """Whether a source that gave this report last is alive at that moment (Unix seconds)."""
    return snapshot.health.alive and wall - snapshot.taken_at.wall <= snapshot.fresh_for
