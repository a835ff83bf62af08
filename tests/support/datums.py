"""Hand-made windows, and their datums; snapshots of another time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from neuron_exporter.model import Selection, Snapshot, Timestamp
from neuron_exporter.sinks.cloudwatch.datums import (
    Datum,
    build_datums,
    collect_heartbeats,
    collect_metrics,
)
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Window


def make_window(**values: Counter[float]) -> Window:
    """Make a window with these values of the machine's metrics."""
    by_pool = {(MACHINE_POOL, name): each for name, each in values.items()}
    return Window(1_700_000_040.0, values=by_pool)


def metric_datums(window: Window, selection: Selection, *sets: Dimensions) -> list[Datum]:
    """Return the datums of a window's metrics with these dimensions."""
    return build_datums(window, collect_metrics(window, selection, _dimension_sets(sets)))


def heartbeat_datums(window: Window, selection: Selection, *sets: Dimensions) -> list[Datum]:
    """Return the heartbeats of a window of a minute with these dimensions."""
    return build_datums(window, collect_heartbeats(window, 60, selection, _dimension_sets(sets)))


def _dimension_sets(sets: Iterable[Dimensions]) -> list[DimensionSet]:
    return [DimensionSet(tuple(name for name, _ in each), each) for each in sets]


def at(snapshot: Snapshot, wall: float) -> Snapshot:
    """Return the snapshot as if it had been taken at another time."""
    return replace(snapshot, taken_at=Timestamp(wall, wall))
