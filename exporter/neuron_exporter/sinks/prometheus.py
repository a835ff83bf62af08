"""Prometheus sink: the latest snapshot in an exposition format.

The text around the values is prepared once for each shape; a scrape inserts the values.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.model import Labels, MetricSpec, Selection, Series, Shape, Snapshot
from neuron_exporter.sinks.exposition import TEXT, Format, escape, head
from neuron_exporter.sinks.machine_labels import INSTANCE_INFO, machine_labels, of_series
from neuron_exporter.sinks.picker import Picker, picker

_ABSENT = b"null"

_PIECES_PER_PART = 400
"""Number of pieces of text, two for each series, that are joined at a time: about 50 kB. For larger
blocks malloc asks the system each time, and their page faults take longer than all the rest."""


class _PreparedSelection(NamedTuple):
    """A selection with the positions of its rows. `no_series` has the number of series of each
    metric while there is no snapshot: 0."""

    selection: Selection
    no_series: Mapping[str, int]
    positions: Mapping[MetricSpec, int]

    @classmethod
    def of(cls, selection: Selection) -> _PreparedSelection:
        """Prepare a selection."""
        no_series = dict.fromkeys((row.name for row in selection.rows), 0)
        return cls(selection, no_series, {row: index for index, row in enumerate(selection.rows)})

    def position(self, series: Series) -> int | None:
        """Return the position of a series' family; None if the series is not selected."""
        position = self.positions.get(series.spec)
        return position if position is not None and self.selection.accepts(series) else None


class PrometheusSink:
    """Sink that keeps the latest snapshot for scrapes. Any thread may offer or expose."""

    name = "prometheus"

    def __init__(
        self,
        selection: Selection,
        *,
        labels: Labels = (),
        identity_labels: Sequence[str] | None = None,
    ) -> None:
        """Create the sink. Every series gets `labels` and those labels of the machine that
        `identity_labels` names, by default all; `instance_info` gets all of them."""
        self._selection = _PreparedSelection.of(selection)
        self.labels = labels
        self._identity_labels = identity_labels
        self._latest: Snapshot | None = None
        self._machine_labels: Labels | None = None
        self._lock = threading.Lock()
        self._table: _Table | None = None

    @property
    def selection(self) -> Selection:
        """The published selection."""
        return self._selection.selection

    def select(self, selection: Selection) -> None:
        """Publish another selection from the next scrape on; running scrapes are unaffected. Rows
        that were not collected before appear with the next report."""
        self._selection = _PreparedSelection.of(selection)

    def offer(self, snapshot: Snapshot) -> None:
        """Publish this snapshot from now on. Never blocks."""
        if self._machine_labels is None and snapshot.health.alive:
            # A series must keep its labels: they stay as in the first healthy report.
            self._machine_labels = machine_labels(snapshot.machine)
        self._latest = snapshot

    def expose(self, monotonic: float, format: Format = TEXT) -> bytes:
        """Return the snapshot as text, without the end marker of the format. Empty if there is no
        snapshot or it is too old."""
        return b"".join(self.expose_parts(monotonic, format))

    def expose_parts(self, monotonic: float, format: Format = TEXT) -> Sequence[bytes]:
        """Return the text of `expose` in parts, which need less time than one large text."""
        snapshot = self._latest
        if snapshot is None:
            return ()
        snapshot = snapshot.as_of(monotonic)
        if not snapshot.shape:
            return ()
        return self._table_for(snapshot).render(snapshot.values, format)

    def series(self, monotonic: float) -> Mapping[str, int]:
        """Return the number of series of each selected metric, including series without a value;
        the same object while the series are the same."""
        snapshot = self._latest
        if snapshot is None or not (snapshot := snapshot.as_of(monotonic)).shape:
            return self._selection.no_series
        return self._table_for(snapshot).series

    def _table_for(self, snapshot: Snapshot) -> _Table:
        labels = self._machine_labels
        if labels is None:
            labels = machine_labels(snapshot.machine)
        selection, table = self._selection, self._table
        if table is not None and table.matches(snapshot.shape, labels, selection):
            return table
        with self._lock:  # one scrape prepares the table, the others wait
            table = self._table
            if table is None or not table.matches(snapshot.shape, labels, selection):
                common = self._common_labels(labels)
                table = self._table = _Table(snapshot.shape, labels, common, selection, table)
        return table

    def _common_labels(self, machine: Labels) -> _CommonLabels:
        chosen = of_series(machine, self._identity_labels)
        return _CommonLabels(_text((*chosen, *self.labels)), _text((*machine, *self.labels)))


class _CommonLabels(NamedTuple):
    """Text of the labels that series have in common, and of those of `instance_info`."""

    of_series: str
    of_instance_info: str


class _Lines(NamedTuple):
    """Text before each value of some series, the room for the value, and the end.

    `pick` picks these values, `pick_others` those of the other series. `heads` are the heads of
    families by their index in the text.
    """

    pick: Picker
    pick_others: Picker
    text: list[bytes]
    heads: dict[int, bytes]


class _Table:
    """Prepared text of one shape, and the order of its series.

    The text of series that `previous` has is taken from there.
    """

    def __init__(
        self,
        shape: Shape,
        machine: Labels,
        common: _CommonLabels,
        selection: _PreparedSelection,
        previous: _Table | None = None,
    ) -> None:
        self._shape = shape
        self._machine = machine
        self._selection = selection
        selected = sorted(
            (position, index)
            for index, series in enumerate(shape)
            if (position := selection.position(series)) is not None
        )
        self._order = [index for _, index in selected]
        self.series = {
            **selection.no_series,
            **Counter(shape[index].spec.name for index in self._order),
        }
        # By the identity of the series, which the shape keeps alive.
        known = previous._names if previous and previous._machine == machine else {}
        self._names: dict[int, bytes] = {}
        for index in self._order:
            series = shape[index]
            is_info = series.spec.name == INSTANCE_INFO
            labels = common.of_instance_info if is_info else common.of_series
            self._names[id(series)] = known.get(id(series)) or _name(series, labels)
        self._had_value: Set[int] = set()
        self._lines: dict[bool, _Lines] = {}

    def matches(self, shape: Shape, machine: Labels, selection: _PreparedSelection) -> bool:
        """Return whether the table was made for this shape, these labels and this selection."""
        return self._shape is shape and self._machine == machine and self._selection is selection

    def render(self, values: tuple[Any, ...], format: Format) -> Sequence[bytes]:
        """Return the text of all series with these values, in parts."""
        if not self._order:
            return ()
        lines = self._lines_for(values, format)
        text = lines.text.copy()
        # JSON numbers are valid in these formats, and msgspec writes the shortest ones that read
        # back as the same number, much faster than repr.
        encoded = msgspec.json.encode(lines.pick(values))[1:-1]
        text[1::2] = numbers = encoded.split(b",") if encoded else []
        if _ABSENT in encoded:
            for position, number in enumerate(numbers):
                if number == _ABSENT:
                    text[2 * position] = lines.heads.get(2 * position, b"")
                    text[2 * position + 1] = b""
        text[0] = text[0][1:]
        starts = range(0, len(text), _PIECES_PER_PART)
        return [b"".join(text[start : start + _PIECES_PER_PART]) for start in starts]

    def _lines_for(self, values: tuple[Any, ...], format: Format) -> _Lines:
        """Return the lines of the series that have or had a value.

        Most series of a runtime in `layout: aws` never have one: those of unused cores.
        """
        lines = self._lines.get(format.is_open_metrics)
        if lines is None or set(lines.pick_others(values)) - {None}:
            present = {index for index in self._order if values[index] is not None}
            shown = self._had_value = self._had_value | present
            lines = self._lines[format.is_open_metrics] = self._prepare(shown, format)
        return lines

    def _prepare(self, shown: Set[int], format: Format) -> _Lines:
        """Return the lines of the series at these indices, and the heads of all families."""
        lines = _Lines(
            picker([index for index in self._order if index in shown]),
            picker([index for index in self._order if index not in shown]),
            text=[],
            heads={},
        )
        family: MetricSpec | None = None
        heads = b""
        for index in self._order:
            series = self._shape[index]
            if series.spec is not family:
                family = series.spec
                about = family.name, family.help, family.kind.value, family.unit.value
                heads += head(format, *about).encode()
            if index in shown:
                if heads:
                    lines.heads[len(lines.text)] = heads
                lines.text.extend((heads + self._names[id(series)], b""))
                heads = b""
        lines.text.append(heads + b"\n")
        return lines


def _name(series: Series, common: str) -> bytes:
    """Return the text between two values: name and labels of a series, on a line of its own."""
    labels = (_text(series.labels) + common)[1:]
    return (
        f"\n{series.spec.name}{{{labels}}} ".encode()
        if labels
        else f"\n{series.spec.name} ".encode()
    )


def _text(labels: Labels) -> str:
    """Return the text of labels, each after a comma."""
    return "".join(f',{name}="{escape(value)}"' for name, value in labels)
