"""Encoding of snapshots as bodies of OTLP's ExportMetricsServiceRequest.

The messages are few and flat, and protobuf's classes cost memory, so that no library writes them.
What is constant is encoded once: the resource, the head of each metric, and the attributes of each
point. Times and values have a fixed size and are appended in each interval: protobuf merges the
parts of a message wherever it is cut (protobuf's encoding guide). Numbers of fields are those of
opentelemetry-proto 1.x, which do not change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from struct import Struct
from typing import NamedTuple

from neuron_exporter import __version__
from neuron_exporter.model import Unit
from neuron_exporter.sinks.otlp.resource import SERVICE_NAME

MAX_POINTS = 1000
"""Points of one request. CloudWatch's limit is not public; an example of AWS sends 200."""

MAX_BYTES = 1_000_000
"""Bytes of one request before compression. CloudWatch's limit is not public; for PutMetricData it
is a million."""

_UNITS = {Unit.RATIO: "1", Unit.BYTES: "By", Unit.SECONDS: "s"}
"""Units by UCUM."""

_DELIMITED = 2  # wire type of messages
_START = b"\x11"  # field 2 of NumberDataPoint, fixed64
_TIME = b"\x19"  # field 3, fixed64
_VALUE = b"\x21"  # field 4, double
_TIME_AND_VALUE = Struct("<cQcd")
_NO_VALUE = b"\x40\x01"  # field 8, flags: no recorded value
_OF_GAUGE, _OF_SUM = 5, 7  # fields of Metric
_CUMULATIVE = b"\x10\x02\x18\x01"  # fields 2 and 3 of Sum: cumulative, monotonic

POINT_OVERHEAD = 21
"""Bytes of a point beside its attributes and its start: time, value, and most frames."""

_TWO_FRAMES = 8
"""Bytes of two frames around at most 2 MiB: of a request and its scope, or of a metric and its
data."""

Attributes = Iterable[tuple[str, str]]


class PointKey(NamedTuple):
    """Identity of a time series: its metric, and its encoded attributes."""

    metric: MetricHead
    attributes: bytes


Present = dict[PointKey, bytes]
"""Series that have a value, with the encoded start times of counters."""


class MetricHead(NamedTuple):
    """A metric without points: its name, the encoded name and unit, and whether it is a counter."""

    name: str
    encoded: bytes
    is_counter: bool

    @classmethod
    def of(cls, name: str, unit: Unit, *, is_counter: bool) -> MetricHead:
        """Return the head of a metric. It has a unit only if its name ends with it: receivers for
        Prometheus append the unit otherwise."""
        has_unit = name.removesuffix("_total").endswith(f"_{unit.value}")
        encoded = _text(1, name) + _text(3, _UNITS.get(unit, "") if has_unit else "")
        return cls(name, encoded, is_counter)

    def frame(self, points: Sequence[bytes]) -> bytes:
        """Return the encoded metric with these points, each of them framed."""
        field, rest = (_OF_SUM, _CUMULATIVE) if self.is_counter else (_OF_GAUGE, b"")
        head = _frame_head(field, sum(map(len, points)) + len(rest))
        return b"".join((self.encoded, head, *points, rest))


class EncodedMetric(NamedTuple):
    """A metric with its framed points of one interval."""

    metric: MetricHead
    points: list[bytes]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.metric.encoded) + sum(map(len, self.points))


def encode_attributes(attributes: Attributes) -> bytes:
    """Return the encoded attributes of a point. Results may be joined."""
    return _key_values(7, attributes)


def encode_start(start: float) -> bytes:
    """Return the encoded start time (Unix seconds) of a counter's point, to follow attributes."""
    return _START + nanoseconds(start).to_bytes(8, "little")


def encode_points(points: Sequence[bytes], values: Sequence[float], time: int) -> list[bytes]:
    """Return framed points with these attributes, starts and values at a time in nanoseconds."""
    frames, pack, size = _POINT_FRAMES, _TIME_AND_VALUE.pack, _TIME_AND_VALUE.size
    return [
        frames[len(point) + size] + point + pack(_TIME, time, _VALUE, value)
        for point, value in zip(points, values, strict=True)
    ]


def encode_ended(ended: Present, time: int) -> Iterator[EncodedMetric]:
    """Yield the last points of series that have ended, which have no value."""
    by_metric: dict[MetricHead, list[bytes]] = {}
    moment = _TIME + time.to_bytes(8, "little") + _NO_VALUE
    for (metric, attributes), start in ended.items():
        point = attributes + start + moment
        framed = _POINT_FRAMES[len(point)] + point
        by_metric.setdefault(metric, []).append(framed)
    for metric, points in by_metric.items():
        yield EncodedMetric(metric, points)


def encode_requests(
    metrics: Iterable[EncodedMetric], resource: Mapping[str, str]
) -> Iterator[bytes]:
    """Yield the bodies of as few requests as the limits allow."""
    head = _encode_resource(resource)
    batch: list[bytes] = []
    empty = len(head) + len(_SCOPE) + _TWO_FRAMES
    count, size = 0, empty
    for metric, points in metrics:
        overhead = len(metric.encoded) + len(_CUMULATIVE) + _TWO_FRAMES
        sizes = [0, *accumulate(map(len, points))]
        start = 0
        while start < len(points):
            fitting = bisect_right(sizes, sizes[start] + MAX_BYTES - size - overhead) - 1
            end = min(fitting, start + MAX_POINTS - count)
            if end <= start and batch:
                yield _frame_request(head, batch)
                batch = []
                count, size = 0, empty
                continue
            end = max(end, start + 1)
            batch.append(metric.frame(points[start:end]))
            count += end - start
            size += overhead + sizes[end] - sizes[start]
            start = end
    if batch:
        yield _frame_request(head, batch)


def encoded_size(attributes: Mapping[str, str]) -> int:
    """Return the size of the attributes of a resource in bytes."""
    return len(_key_values(1, attributes.items()))


def nanoseconds(seconds: float) -> int:
    """Return a time in nanoseconds, exact for whole seconds."""
    whole = int(seconds)
    return whole * 10**9 + int((seconds - whole) * 1e9)


def _encode_resource(attributes: Mapping[str, str]) -> bytes:
    """Return an encoded ResourceMetrics without metrics."""
    return _message(1, _key_values(1, attributes.items()))


def _frame_request(head: bytes, metrics: Sequence[bytes]) -> bytes:
    """Return a request with these encoded metrics. They are copied once."""
    parts = [_SCOPE]
    for metric in metrics:
        parts += _frame_head(2, len(metric)), metric
    size = sum(map(len, parts))
    parts = [head, _frame_head(2, size), *parts]
    size = sum(map(len, parts))
    return b"".join((_frame_head(1, size), *parts))


def _key_values(field: int, attributes: Attributes) -> bytes:
    return b"".join(
        _message(field, _text(1, name) + _message(2, _message(1, value.encode())))
        for name, value in attributes
    )


def _text(field: int, text: str) -> bytes:
    """Return a field of text, which is absent if it is empty."""
    return _message(field, text.encode()) if text else b""


def _message(field: int, content: bytes) -> bytes:
    return _frame_head(field, len(content)) + content


def _frame_head(field: int, length: int) -> bytes:
    """Return what precedes a message as a field of the message around it."""
    return bytes((field << 3 | _DELIMITED, *_varint(length)))


def _varint(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number


_SCOPE = _message(1, _text(1, SERVICE_NAME) + _text(2, __version__))


class _PointFrames(dict[int, bytes]):
    """What precedes a data point in a Gauge or Sum, by the point's length."""

    def __missing__(self, length: int) -> bytes:
        frame = self[length] = _frame_head(1, length)
        return frame


_POINT_FRAMES = _PointFrames()
