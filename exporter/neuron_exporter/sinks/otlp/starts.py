"""Start times of counters.

OTLP's cumulative sums say since when they count. A counter starts with the exporter, or with the
last report that did not have it. It keeps its start for as long as reports have it: restarts of
neuron-monitor, and owners that come and go, do not change the counter.
"""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.model import Labels, MetricKind, MetricSpec, Shape, Snapshot

Starts = Mapping[tuple[MetricSpec, Labels], float]
"""Start times (Unix seconds) by the key of the counter."""


class StartTimes:
    """Start times of the counters of one report after the other."""

    def __init__(self, started: float) -> None:
        """`started` is when the exporter started."""
        self._shape: Shape | None = None
        self._before = started
        self._starts: Starts = {}

    def observe(self, snapshot: Snapshot) -> Starts:
        """Return the start times of a report's counters, which do not change any more."""
        if snapshot.shape is not self._shape:
            self._shape = snapshot.shape
            known = self._starts
            keys = (s.counter_key() for s in snapshot.shape if s.spec.kind is MetricKind.COUNTER)
            self._starts = {key: known.get(key, self._before) for key in keys}
        wall = snapshot.taken_at.wall
        if wall < self._before:  # the clock was set back: no counter starts in the future
            self._starts = {key: min(start, wall) for key, start in self._starts.items()}
        self._before = wall
        return self._starts
