"""Validation of metrics in OTLP as CloudWatch's page on its OTLP endpoint demands it.

The page names the protocol, the formats, the compression and the maximum of 150 labels of a data
point. Limits of points and bytes of a request and of ages are not public for metrics: those of
PutMetricData are assumed. Rules for series are those of OpenTelemetry's data model. What this
exporter does not send (other kinds of points, exemplars, other values) is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    Metric,
    NumberDataPoint,
)

MAX_ATTRIBUTES = 150
MAX_POINTS = 1000  # assumed
MAX_BYTES = 1_000_000  # before gzip; assumed
MAX_AGE = 14 * 86400  # assumed
MAX_AHEAD = 2 * 3600  # assumed
MAX_NAME_LENGTH = 255

Attributes = tuple[tuple[str, str], ...]
"""Attributes in the order of their names."""


class Point(NamedTuple):
    """A data point. Times are in Unix nanoseconds, `start` is 0 if it is missing. `value` is None
    with the flag of no recorded value."""

    name: str
    kind: str
    attributes: Attributes
    value: float | int | None
    start: int
    time: int
    flags: int
    resource: Attributes
    unit: str
    scope: str

    @property
    def series(self) -> tuple[object, ...]:
        """Identity of its series."""
        return self.resource, self.scope, self.name, self.attributes

    @property
    def labels(self) -> Mapping[str, str]:
        """Attributes by name."""
        return dict(self.attributes)

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in self.attributes)
        return f"{self.name}{{{labels}}} at {self.time}"


class BadPoints(Exception):
    """A request that CloudWatch would reject, as far as is known."""


def read_points(body: bytes, now: float) -> list[Point]:
    """Decode a request that is not compressed, and check it at a time (Unix seconds).

    Raises:
        BadPoints: for the first error.
    """
    if len(body) > MAX_BYTES:
        raise BadPoints(f"at most {MAX_BYTES} bytes (got {len(body)})")
    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadPoints(f"not an ExportMetricsServiceRequest: {error}") from None
    known = ExportMetricsServiceRequest()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    if known.ByteSize() != request.ByteSize():
        raise BadPoints("has unknown fields")
    points = list(_points(request))
    if not points:
        raise BadPoints("has no data points")
    if len(points) > MAX_POINTS:
        raise BadPoints(f"at most {MAX_POINTS} data points (got {len(points)})")
    for point in points:
        _check_times(point, now)
    return points


class History:
    """The accepted points of all series. Series are checked across requests."""

    def __init__(self, *, allow_repeats: bool) -> None:
        """With `allow_repeats`, a point that is exactly the last or an earlier one of its series is
        accepted again, as after a response that was lost."""
        self.repeated: list[Point] = []
        self._allow_repeats = allow_repeats
        self._known: set[Point] = set()
        self._last: dict[tuple[object, ...], Point] = {}
        self._kinds: dict[str, tuple[str, str]] = {}

    def add(self, points: Iterable[Point]) -> list[Point]:
        """Add the points of a request, or none of them; return those that are new.

        Raises:
            BadPoints: for the first error.
        """
        new: list[Point] = []
        repeated: list[Point] = []
        last, kinds = dict[tuple[object, ...], Point](), dict[str, tuple[str, str]]()
        for point in points:
            kind = (point.kind, point.unit)
            first = self._kinds.get(point.name) or kinds.setdefault(point.name, kind)
            if kind != first:
                raise BadPoints(f"{point}: is {kind}, was {first}")
            if self._allow_repeats and point in self._known:
                repeated.append(point)
                continue
            before = last.get(point.series) or self._last.get(point.series)
            if before is not None:
                _check_order(before, point)
            last[point.series] = point
            new.append(point)
        self._last |= last
        self._kinds |= kinds
        self._known |= {*new} if self._allow_repeats else set()
        self.repeated += repeated
        return new


def _points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for of_resource in request.resource_metrics:
        resource = _attributes(of_resource.resource.attributes, "resource")
        for of_scope in of_resource.scope_metrics:
            scope = f"{of_scope.scope.name} {of_scope.scope.version}".strip()
            for metric in of_scope.metrics:
                kind, points = _kind(metric)
                for point in points:
                    yield _point(metric, kind, point, resource, scope)


def _kind(metric: Metric) -> tuple[str, Iterable[NumberDataPoint]]:
    name = metric.name
    if not name or len(name) > MAX_NAME_LENGTH or not name.isascii():
        raise BadPoints(f"{name!r}: a name has 1 to {MAX_NAME_LENGTH} ASCII characters")
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        return kind, metric.gauge.data_points
    if kind != "sum":
        raise BadPoints(f"{name}: {kind} is not sent by this exporter")
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    if metric.sum.aggregation_temporality != cumulative or not metric.sum.is_monotonic:
        raise BadPoints(f"{name}: a sum must be cumulative and monotonic")
    return kind, metric.sum.data_points


def _point(
    metric: Metric, kind: str, point: NumberDataPoint, resource: Attributes, scope: str
) -> Point:
    attributes = _attributes(point.attributes, metric.name)
    if len(attributes) > MAX_ATTRIBUTES:
        raise BadPoints(f"{metric.name}: at most {MAX_ATTRIBUTES} attributes")
    if point.exemplars:
        raise BadPoints(f"{metric.name}: exemplars are not sent by this exporter")
    field = point.WhichOneof("value")
    value = None if field is None else getattr(point, field)
    none = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
    if point.flags not in (0, none) or (value is None) != (point.flags == none):
        raise BadPoints(f"{metric.name}: flags {point.flags} with value {value}")
    if value is not None and not math.isfinite(value):
        raise BadPoints(f"{metric.name}: {value} is not finite")
    return Point(
        metric.name,
        kind,
        attributes,
        value,
        point.start_time_unix_nano,
        point.time_unix_nano,
        point.flags,
        resource,
        metric.unit,
        scope,
    )


def _attributes(attributes: Iterable[KeyValue], place: str) -> Attributes:
    found: dict[str, str] = {}
    for each in attributes:
        if not each.key or each.key in found:
            raise BadPoints(f"{place}: attribute {each.key!r} is empty or not unique")
        if each.value.WhichOneof("value") != "string_value":
            raise BadPoints(f"{place}: attribute {each.key} is not a string")
        found[each.key] = each.value.string_value
    return tuple(sorted(found.items()))


def _check_times(point: Point, now: float) -> None:
    age = now - point.time / 1e9
    if age > MAX_AGE or age < -MAX_AHEAD:
        raise BadPoints(f"{point}: too old or too far ahead ({age:.0f} s ago)")
    if point.start > point.time:
        raise BadPoints(f"{point}: starts at {point.start}, after its time")
    if point.kind == "sum" and not point.start:
        raise BadPoints(f"{point}: a sum needs a start time")


def _check_order(before: Point, point: Point) -> None:
    """Check a point and the one before of its series. Prometheus rejects late points."""
    if point.time == before.time:
        raise BadPoints(f"{point}: has two points with one time")
    if point.time < before.time:
        raise BadPoints(f"{point}: is late, after one at {before.time}")
    if point.kind != "sum":
        return
    if point.start < before.start:
        raise BadPoints(f"{point}: its start went back from {before.start} to {point.start}")
    fell = point.value is not None and before.value is not None and point.value < before.value
    if fell and point.start == before.start:
        raise BadPoints(f"{point}: fell from {before.value} to {point.value} without a new start")
