"""The latest snapshot as Prometheus reads it.

The text around the values is prepared once for each shape; a scrape writes the values between.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.model import Labels, Machine, MetricSpec, Selection, Series, Shape, Snapshot
from neuron_exporter.sinks.exposition import OPEN_METRICS, TEXT, Format, escape, head

_ABSENT = b"null"


class _Choice(NamedTuple):
    """A selection, how many series its metrics have while there is no snapshot, and the places of
    its rows."""

    selection: Selection
    no_series: Mapping[str, int]
    order: Mapping[MetricSpec, int]

    @classmethod
    def of(cls, selection: Selection) -> _Choice:
        """Prepare a selection."""
        no_series = dict.fromkeys((row.name for row in selection.rows), 0)
        return cls(selection, no_series, {row: at for at, row in enumerate(selection.rows)})

    def place(self, series: Series) -> int | None:
        """The place of a series' row among the families; None leaves the series out."""
        place = self.order.get(series.spec)
        return place if place is not None and self.selection.takes(series) else None


class PrometheusSink:
    """Holds the latest snapshot and writes it out. Any thread may offer, any may expose."""

    name = "prometheus"

    def __init__(self, selection: Selection) -> None:
        self._choice = _Choice.of(selection)
        self._latest: Snapshot | None = None
        self._machine_labels: Labels | None = None
        self._lock = threading.Lock()
        self._table: _Table | None = None

    @property
    def selection(self) -> Selection:
        """What is shown."""
        return self._choice.selection

    def select(self, selection: Selection) -> None:
        """Show another selection from the next scrape on; one that is being written is as it was.
        Rows that were not collected before come with the next report."""
        self._choice = _Choice.of(selection)

    def offer(self, snapshot: Snapshot) -> None:
        """Show this snapshot from now on. Never blocks."""
        if self._machine_labels is None and snapshot.health.alive:
            # Labels of a running series never change: these stay as the first healthy report
            # had them.
            self._machine_labels = machine_labels(snapshot.machine)
        self._latest = snapshot

    def expose(self, monotonic: float, format: Format = TEXT) -> bytes:
        """The snapshot as text, without the format's end; empty when there is none, or it is too
        old."""
        snapshot = self._latest
        if snapshot is None:
            return b""
        snapshot = snapshot.at(monotonic)
        if not snapshot.shape:
            return b""
        return self._table_for(snapshot).render(snapshot.values, format)

    def series(self, monotonic: float) -> Mapping[str, int]:
        """How many series each selected metric has, those without a value now included; the same
        object while the series are the same."""
        snapshot = self._latest
        if snapshot is None or not (snapshot := snapshot.at(monotonic)).shape:
            return self._choice.no_series
        return self._table_for(snapshot).series

    def _table_for(self, snapshot: Snapshot) -> _Table:
        labels = self._machine_labels
        if labels is None:
            labels = machine_labels(snapshot.machine)
        choice, table = self._choice, self._table
        if table is not None and table.fits(snapshot.shape, labels, choice):
            return table
        with self._lock:  # one scrape prepares, the others wait for it
            table = self._table
            if table is None or not table.fits(snapshot.shape, labels, choice):
                table = self._table = _Table(snapshot.shape, labels, choice)
        return table


class _Table:
    """One shape, ready to be written: the text before each value, and the values' order."""

    def __init__(
        self,
        shape: Shape,
        machine: Labels,
        choice: _Choice,
    ) -> None:
        self._shape = shape
        self._machine = machine
        self._choice = choice
        placed = sorted(
            (place, index)
            for index, series in enumerate(shape)
            if (place := choice.place(series)) is not None
        )
        self.series = {**choice.no_series, **Counter(shape[index].spec.name for _, index in placed)}
        self.length = len(placed)
        order = [index for _, index in placed]
        if len(order) == 1:
            order_of_one = slice(order[0], order[0] + 1)
            self._pick: Callable[[tuple[Any, ...]], tuple[Any, ...]] = itemgetter(order_of_one)
        elif order:
            self._pick = itemgetter(*order)
        common = "".join(f',{name}="{escape(value)}"' for name, value in machine)
        self._text: list[bytes] = []
        # Heads by their place in the text, for both kinds of formats. The text has those of TEXT
        # in it; the other kind costs as many exchanges as there are families.
        self._heads: dict[int, bytes] = {}
        self._open_metrics_heads: dict[int, bytes] = {}
        family: MetricSpec | None = None
        for index in order:
            series = shape[index]
            place = len(self._text)
            if series.spec is not family:
                family = series.spec
                about = family.name, family.help, family.kind.value, family.unit.value
                self._heads[place] = head(TEXT, *about).encode()
                self._open_metrics_heads[place] = head(OPEN_METRICS, *about).encode()
            own = "".join(f',{name}="{escape(value)}"' for name, value in series.labels)
            labels = (own + common)[1:]
            name = f"{family.name}{{{labels}}}" if labels else family.name
            self._text += [self._heads.get(place, b"") + f"\n{name} ".encode(), b""]
        self._text.append(b"\n")

    def fits(self, shape: Shape, machine: Labels, choice: _Choice) -> bool:
        """Whether this is the table of that shape, those labels and that choice."""
        return self._shape is shape and self._machine == machine and self._choice is choice

    def render(self, values: tuple[Any, ...], format: Format) -> bytes:
        """The text of all series with these values."""
        if not self.length:
            return b""
        text = self._text.copy()
        heads = self._heads
        if format.is_open_metrics:
            heads = self._open_metrics_heads
            for place, lines in heads.items():
                text[place] = lines + text[place][len(self._heads[place]) :]
        # Numbers of JSON are numbers of these formats, and msgspec writes the shortest ones that
        # read back the same, much faster than repr.
        encoded = msgspec.json.encode(self._pick(values))[1:-1]
        text[1::2] = numbers = encoded.split(b",")
        if _ABSENT in encoded:
            for place, number in enumerate(numbers):
                if number == _ABSENT:
                    text[2 * place] = heads.get(2 * place, b"")
                    text[2 * place + 1] = b""
        return b"".join(text)[1:]


def machine_labels(machine: Machine) -> Labels:
    """The labels that AWS's script sets on every series, empty ones left out."""
    named = (
        ("instance_name", machine.instance_name),
        ("instance_id", machine.instance_id),
        ("instance_type", machine.instance_type),
        ("availability_zone", machine.availability_zone),
        ("region", machine.region),
        ("subnet_id", machine.subnet_id),
        ("ultraserver_id", machine.ultraserver_id),
    )
    return tuple(pair for pair in named if pair[1])
