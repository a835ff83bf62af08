"""Requests are within their limits, and complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from neuron_exporter.model import Unit
from neuron_exporter.sinks.otlp import encode
from neuron_exporter.sinks.otlp.encode import (
    POINT_OVERHEAD,
    EncodedMetric,
    MetricHead,
    PointKey,
    encode_attributes,
    encode_ended,
    encode_points,
    encode_requests,
    encode_start,
    nanoseconds,
)
from tests.support.otlp_points import read_points

NOW = 1_700_000_000
TIME = NOW * 10**9


def metric(name: str, number: int, label: str = "x") -> EncodedMetric:
    """Return a gauge with so many points, whose values are their numbers."""
    attributes = [encode_attributes([("number", str(n)), ("label", label)]) for n in range(number)]
    head = MetricHead.of(name, Unit.NONE, is_counter=False)
    return EncodedMetric(head, encode_points(attributes, list(map(float, range(number))), TIME))


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 50), st.integers(300, 3000))
def test_every_point_arrives_once_within_the_limits(
    sizes: list[int], max_points: int, max_bytes: int
) -> None:
    metrics = [metric(f"m{index}", size) for index, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "MAX_POINTS", max_points)
        patch.setattr(encode, "MAX_BYTES", max_bytes)
        bodies = list(encode_requests(metrics, {"service.name": "test"}))
    got = [(p.name, p.labels["number"]) for body in bodies for p in read_points(body, NOW)]
    wanted = [(f"m{index}", str(n)) for index, size in enumerate(sizes) for n in range(size)]
    assert got == wanted
    for body in bodies:
        assert len(read_points(body, NOW)) <= max_points
        assert len(body) <= max_bytes


def test_a_counter_is_cumulative_and_monotonic() -> None:
    head = MetricHead.of("a_bytes_total", Unit.BYTES, is_counter=True)
    point = encode_attributes([("a", "b")]) + encode_start(NOW - 5)
    (body,) = encode_requests([EncodedMetric(head, encode_points([point], [3.0], TIME))], {})
    (sent,) = read_points(body, NOW)
    assert (sent.kind, sent.unit, sent.value) == ("sum", "By", 3.0)
    assert (sent.start, sent.time) == ((NOW - 5) * 10**9, TIME)
    scope = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0]
    assert scope.metrics[0].sum.is_monotonic
    assert scope.metrics[0].sum.aggregation_temporality == 2
    assert scope.scope.name == "neuron-exporter"


def test_a_series_that_has_ended_has_no_value() -> None:
    gauge = MetricHead.of("a", Unit.NONE, is_counter=False)
    counter = MetricHead.of("b_total", Unit.NONE, is_counter=True)
    ended = {
        PointKey(gauge, encode_attributes([("x", "1")])): b"",
        PointKey(counter, encode_attributes([("x", "2")])): encode_start(NOW - 60),
    }
    (body,) = encode_requests(encode_ended(ended, TIME), {})
    points = read_points(body, NOW)
    assert [(p.name, p.value, p.flags, p.start) for p in points] == [
        ("a", None, 1, 0),
        ("b_total", None, 1, (NOW - 60) * 10**9),
    ]


def test_no_points_are_no_request() -> None:
    assert list(encode_requests([metric("m", 0)], {"a": "b"})) == []


@given(st.integers(1, 3000))
def test_a_point_of_any_length_is_framed(length: int) -> None:
    (body,) = encode_requests([metric("m", 1, "y" * length)], {})
    (point,) = read_points(body, NOW)
    assert point.labels["label"] == "y" * length


def test_the_overhead_of_a_point_is_what_the_frames_add() -> None:
    attributes = encode_attributes([("a", "b" * 150)])
    (point,) = encode_points([attributes], [1.0], TIME)
    assert len(point) - len(attributes) == POINT_OVERHEAD


@pytest.mark.parametrize("seconds", [0.0, 1.5, 1_700_000_060.0, 2**31 + 0.25])
def test_nanoseconds_are_exact(seconds: float) -> None:
    assert nanoseconds(seconds) == int(seconds * 4) * 250_000_000
