"""The server in place of CloudWatch's OTLP endpoint rejects what CloudWatch's page forbids."""

from __future__ import annotations

import gzip
import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from tests.support.otlp_front import PATH, PROTOBUF, OtlpFront, otlp_front
from tests.support.otlp_points import MAX_POINTS
from tests.support.otlp_requests import message, point

NOW = 1_764_000_000.0
GAUGE = message(point(NOW, 0.5))


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """A front whose clock stands still."""
    with otlp_front(lambda: NOW) as started:
        yield started


def send(
    front: OtlpFront,
    body: bytes | ExportMetricsServiceRequest = GAUGE,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    path: str = PATH,
) -> int:
    """Send a request; return the status."""
    content = body if isinstance(body, bytes) else body.SerializeToString()
    with closing(http.client.HTTPConnection(urlsplit(front.url).netloc)) as connection:
        connection.request(method, path, content, {"Content-Type": PROTOBUF, **(headers or {})})
        return connection.getresponse().status


def counter(*points: NumberDataPoint) -> ExportMetricsServiceRequest:
    """Return a request with points of a counter."""
    return message(*points, name="execution_status_total", is_counter=True)


def test_points_are_recorded(front: OtlpFront) -> None:
    assert send(front) == 200
    (found,) = front.points
    assert (found.name, found.kind, found.value) == ("neuroncore_utilization_ratio", "gauge", 0.5)
    assert (found.start, found.time, found.flags) == (0, int(NOW * 1e9), 0)
    assert found.labels == {"neuroncore": "0"}
    assert found.resource == (("service.name", "neuron-exporter"),)
    assert front.rejected == []


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (404, {"path": "/v1/traces"}),
        (404, {"path": "/"}),
        (405, {"method": "PUT"}),
        (415, {"headers": {"Content-Type": "application/grpc"}}),
        (415, {"headers": {"Content-Type": "application/json"}}),
        (415, {"headers": {"Content-Encoding": "deflate"}}),
        (400, {"headers": {"Content-Encoding": "gzip"}}),
        (400, {"body": b"\x0a"}),
        (400, {"body": b""}),
        (400, {"body": GAUGE.SerializeToString() + b"\x7a\x01x"}),
    ],
)
def test_other_protocols_are_rejected(
    front: OtlpFront, status: int, arguments: dict[str, object]
) -> None:
    assert send(front, **arguments) == status  # type: ignore[arg-type]
    assert len(front.rejected) == 1
    assert front.points == []


def test_gzip_is_accepted(front: OtlpFront) -> None:
    body = gzip.compress(GAUGE.SerializeToString())
    assert send(front, body, {"Content-Encoding": "gzip"}) == 200
    assert front.requests[0].size == GAUGE.ByteSize()


def test_old_http_is_rejected(front: OtlpFront) -> None:
    address = urlsplit(front.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.0\r\nContent-Type: {PROTOBUF}\r\n\r\n".encode())
        assert b" 505 " in connection.recv(1000)


LABELS = {f"label{index}": "x" for index in range(151)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (message(point(NOW, 1.0, labels=LABELS)), "at most 150 attributes"),
        (message(point(NOW, 1.0), point(NOW, 1.0)), "two points with one time"),
        (message(point(NOW, 1.0), point(NOW - 60, 1.0)), "is late"),
        (message(point(NOW - 15 * 86400, 1.0)), "too old or too far ahead"),
        (message(point(NOW + 3 * 3600, 1.0)), "too old or too far ahead"),
        (message(point(NOW, 1.0, start=NOW + 1)), "after its time"),
        (message(point(NOW, float("nan"))), "not finite"),
        (counter(point(NOW, 1.0)), "needs a start time"),
        (
            message(*(point(NOW, 1.0, labels={"a": str(i)}) for i in range(MAX_POINTS + 1))),
            "at most 1000 data points",
        ),
        (message(point(NOW, 1.0, labels={"a": "x" * 1_000_000})), "at most 1000000 bytes"),
        (counter(point(NOW - 60, 2.0, NOW - 90), point(NOW, 1.0, NOW - 90)), "fell from"),
        (counter(point(NOW - 60, 2.0, NOW - 90), point(NOW, 2.0, NOW - 91)), "start went back"),
    ],
)
def test_illegal_points_are_rejected(
    front: OtlpFront, content: ExportMetricsServiceRequest, reason: str
) -> None:
    assert send(front, content) == 400
    assert reason in front.rejected[0]
    assert front.points == []


def test_attribute_with_two_values_is_rejected(front: OtlpFront) -> None:
    content = message(point(NOW, 1.0))
    of_point = content.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    of_point.attributes.append(of_point.attributes[0])
    assert send(front, content) == 400
    assert "not unique" in front.rejected[0]


def test_series_are_checked_across_requests(front: OtlpFront) -> None:
    start = NOW - 600
    assert send(front, counter(point(NOW - 60, 5.0, start))) == 200
    assert send(front, counter(point(NOW - 60, 5.0, start))) == 400
    assert send(front, counter(point(NOW, 4.0, start))) == 400
    assert send(front, counter(point(NOW, 0.0, NOW - 30))) == 200
    assert send(front, message(point(NOW, 1.0), name="execution_status_total")) == 400
    assert [found.value for found in front.points] == [5.0, 0.0]


def test_repeats_can_be_allowed() -> None:
    with otlp_front(lambda: NOW, allow_repeats=True) as front:
        assert send(front, message(point(NOW - 60, 1.0))) == 200
        assert send(front) == 200
        assert send(front, message(point(NOW - 60, 1.0))) == 200
        assert send(front, message(point(NOW - 60, 2.0))) == 400
    assert len(front.points) == 2
    assert len(front.repeated) == 1


def test_end_of_a_series_is_accepted(front: OtlpFront) -> None:
    assert send(front, message(point(NOW - 60, 1.0), point(NOW, None))) == 200
    assert front.points[1].value is None
    assert front.points[1].flags == 1
