"""Windows filled by hand, and the datums that they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from neuron_exporter.model import Selection
from neuron_exporter.sinks.cloudwatch.datums import Datum, datums, heartbeats, measure
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE
from neuron_exporter.sinks.cloudwatch.window import Window


def window(**values: Counter[float]) -> Window:
    """A window with these values of the machine's metrics."""
    return Window(1_700_000_040.0, values={(MACHINE, name): each for name, each in values.items()})


def readings(window: Window, selection: Selection, *sets: Dimensions) -> list[Datum]:
    """What a window gathered, under these dimensions."""
    return datums(window, measure(window, selection, _named(sets)))


def beats(window: Window, selection: Selection, *sets: Dimensions) -> list[Datum]:
    """The heartbeats of a window of a minute, under these dimensions."""
    return datums(window, heartbeats(window, 60, selection, _named(sets)))


def _named(sets: Iterable[Dimensions]) -> list[DimensionSet]:
    return [DimensionSet(tuple(name for name, _ in each), each) for each in sets]
