"""Points of one shape, prepared without their times and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import compress
from typing import NamedTuple

from neuron_exporter.model import Labels, MetricKind, MetricSpec, Selection, Shape, Snapshot
from neuron_exporter.sinks.machine_labels import INSTANCE_INFO
from neuron_exporter.sinks.otlp.encode import (
    POINT_OVERHEAD,
    EncodedMetric,
    MetricHead,
    PointKey,
    Present,
    encode_attributes,
    encode_points,
    encode_start,
)
from neuron_exporter.sinks.otlp.starts import Starts


class CommonLabels(NamedTuple):
    """Labels of the machine and fixed ones: of every series, and of `instance_info`."""

    of_series: Labels
    of_instance_info: Labels


class _Prepared(NamedTuple):
    """The series of a metric: their indices in the shape, the encoded parts of their points that do
    not change, and their identities with the encoded start times of counters."""

    indices: list[int]
    points: list[bytes]
    keys: Present


class PointTable:
    """Encoded points of the selected series of a shape, by metric.

    Attributes that `previous` has are taken from there.
    """

    def __init__(
        self,
        shape: Shape,
        selection: Selection,
        common: CommonLabels,
        starts: Starts,
        time: float,
        previous: PointTable | None = None,
    ) -> None:
        """`time` is that of the first points (Unix seconds), before which all counters start."""
        self._shape = shape
        self._selection = selection
        self._common = common
        self._starts = starts
        # By the identity of the series, which the shape keeps alive.
        known = previous._attributes if previous and previous._common == common else {}
        self._attributes: dict[int, bytes] = {}
        self._by_metric: dict[MetricHead, _Prepared] = {}
        heads = {row: _head(row) for row in selection.rows if row.kind is not _DISTRIBUTION}
        of_series = encode_attributes(common.of_series)
        of_instance_info = encode_attributes(common.of_instance_info)
        for index, series in enumerate(shape):
            head = heads.get(series.spec)
            if head is None or not selection.accepts(series):
                continue
            attributes = known.get(id(series))
            if attributes is None:
                is_info = series.spec.name == INSTANCE_INFO
                attributes = encode_attributes(series.labels)
                attributes += of_instance_info if is_info else of_series
            self._attributes[id(series)] = attributes
            started = min(starts[series.counter_key()], time) if head.is_counter else 0.0
            start = encode_start(started) if head.is_counter else b""
            prepared = self._by_metric.setdefault(head, _Prepared([], [], {}))
            prepared.indices.append(index)
            prepared.points.append(attributes + start)
            prepared.keys[PointKey(head, attributes)] = start
        self._sizes = {
            head.name: (sum(map(len, points)) + POINT_OVERHEAD * len(points), len(points))
            for head, (_, points, _) in self._by_metric.items()
        }

    def is_for(
        self, shape: Shape, selection: Selection, common: CommonLabels, starts: Starts
    ) -> bool:
        """Return whether the table was made from these."""
        return (
            self._shape is shape
            and self._selection is selection
            and self._common == common
            and self._starts is starts
        )

    def encode(
        self, snapshot: Snapshot, time: int, suppressed: Set[str], present: Present
    ) -> Iterator[EncodedMetric]:
        """Yield the metrics at a time in nanoseconds. Add the series that have a value, and are not
        suppressed, to `present`."""
        values = snapshot.values
        for metric, (indices, points, keys) in self._by_metric.items():
            if metric.name in suppressed:
                continue
            numbers = [v for index in indices if isinstance(v := values[index], float | int)]
            if len(numbers) < len(indices):
                has_value = [values[index] is not None for index in indices]
                points = list(compress(points, has_value))
                keys = dict(compress(keys.items(), has_value))
            present.update(keys)
            if points:
                yield EncodedMetric(metric, encode_points(points, numbers, time))

    def ingested_sizes(self, of_resource: int) -> Mapping[str, int]:
        """Return the bytes that CloudWatch counts of each metric, if its resource has so many: it
        counts the name and the resource with each point."""
        return {
            name: size + number * (len(name) + of_resource)
            for name, (size, number) in self._sizes.items()
        }


_DISTRIBUTION = MetricKind.DISTRIBUTION


def _head(row: MetricSpec) -> MetricHead:
    return MetricHead.of(row.name, row.unit, is_counter=row.kind is MetricKind.COUNTER)
