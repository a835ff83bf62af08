"""PutMetricData over real HTTP: one attempt per request, classified by its outcome."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch.datums import batch_datums
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery import aws_session
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import attempt
from tests.support.cloudwatch_sinks import request_of
from tests.support.endpoint import Answer, Endpoint, reject, respond
from tests.support.http import serving

pytestmark = pytest.mark.usefixtures("fake_credentials")

DATUM: dict[str, Any] = {
    "MetricName": "NeuronCoreUtilization",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
    "Timestamp": datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    "Unit": "Percent",
    "Values": [7.0, 15.5, 1 / 3],
    "Counts": [1.0, 2.0, 3.0],
}


@pytest.fixture
def transport(endpoint: Endpoint) -> Iterator[PutMetricDataTransport]:
    """A transport to the endpoint."""
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    yield opened
    opened.close()


def test_request_equals_botocores(endpoint: Endpoint, transport: PutMetricDataTransport) -> None:
    assert transport.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    client = botocore.session.Session().create_client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=endpoint.url,
        config=Config(disable_request_compression=True),
    )
    client.put_metric_data(Namespace="NeuronExporter", MetricData=[DATUM])
    client.close()
    ours, theirs = endpoint.requests
    assert ours == theirs
    for name in ("X-Amz-Target", "Content-Type"):
        assert endpoint.headers[0][name] == endpoint.headers[1][name]
    assert "/monitoring/aws4_request" in endpoint.headers[0]["Authorization"]


def test_other_protocol_is_left_to_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    lean = aws_session._lean_service
    bodies: list[bytes] = []

    def with_query_protocol(raw: bytes, name: str) -> dict[str, Any]:
        service = lean(raw, name)
        service["metadata"]["protocols"] = ["query"]
        return service

    class Query(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            respond(self, 200, "")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(aws_session, "_lean_service", with_query_protocol)
    with serving(Query) as url:
        opened = PutMetricDataTransport("us-east-1", url)
        opened.send(request_of(DATUM))
        opened.close()
    assert b"Action=PutMetricData&" in bodies[0]
    assert b"&MetricData.member.1.Values.member.2=15.5" in bodies[0]


@pytest.mark.parametrize("value", [1 / 3, 1e-7, 1e300, 5.0])
def test_request_size_limit(
    endpoint: Endpoint, transport: PutMetricDataTransport, value: float
) -> None:
    datum = {**DATUM, "Values": [value] * 150, "Counts": [1.0] * 150}
    namespace = "n" * 255
    for batch in batch_datums([datum] * 800):
        assert transport.send(request_of(*batch, namespace=namespace)).verdict is Verdict.DELIVERED
    sizes = [int(headers["Content-Length"]) for headers in endpoint.headers]
    assert len(sizes) > 1
    assert max(sizes) <= 1_000_000
    # With the spaces of botocore's serializer, which an earlier version uses for the same spool.
    assert min(len(json.dumps(each)) for each in endpoint.requests[:-1]) > 950_000


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "https://monitoring.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://monitoring.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://monitoring.us-gov-west-1.amazonaws.com"),
        ("eu-isoe-west-1", "https://monitoring.eu-isoe-west-1.cloud.adc-e.uk"),
    ],
)
def test_endpoints_of_all_partitions(region: str, host: str) -> None:
    lean = api._client(region, None)
    full = botocore.session.Session().create_client("cloudwatch", region_name=region)
    assert lean.meta.endpoint_url == host == full.meta.endpoint_url
    lean.close()
    full.close()


ERRORS = [
    (400, "InvalidParameterValue", Verdict.REJECTED),
    (400, "InvalidParameterValueException", Verdict.REJECTED),
    (400, "InvalidParameterCombination", Verdict.REJECTED),
    (400, "MissingParameter", Verdict.REJECTED),
    (400, "ValidationError", Verdict.REJECTED),
    (413, "RequestEntityTooLarge", Verdict.REJECTED),
    (413, "SomethingElse", Verdict.REJECTED),
    (400, "Throttling", Verdict.RETRY),
    (400, "ThrottlingException", Verdict.RETRY),
    (400, "ExpiredToken", Verdict.RETRY),
    (400, "RequestExpired", Verdict.RETRY),
    (403, "AccessDenied", Verdict.RETRY),
    (403, "SignatureDoesNotMatch", Verdict.RETRY),
    (400, "UnheardOf", Verdict.RETRY),
    (500, "InternalServiceError", Verdict.RETRY),
    (503, "ServiceUnavailable", Verdict.RETRY),
]


@pytest.mark.parametrize(("status", "code", "verdict"), ERRORS)
def test_error_codes_are_classified(
    endpoint: Endpoint, transport: PutMetricDataTransport, status: int, code: str, verdict: Verdict
) -> None:
    endpoint.answer = reject(status, code)
    outcome = transport.send(request_of(DATUM))
    assert outcome.verdict is verdict
    assert outcome.code == code
    not_of_request = status >= 500 or code in ("Throttling", "ThrottlingException", "ExpiredToken")
    not_of_request = not_of_request or code in ("RequestExpired", "SignatureDoesNotMatch")
    assert verdict is Verdict.REJECTED or outcome.of_request == (not not_of_request)
    assert outcome.ambiguous == (status == 500)  # it may have been accepted before the failure
    assert outcome.message
    assert len(endpoint.requests) == 1


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def html_error(handler: BaseHTTPRequestHandler) -> None:
    """Respond with a proxy's error page."""
    respond(handler, 502, "<html>bad gateway</html>")


def responds(status: int, text: str) -> Answer:
    """Return a responder with this status and body."""
    return lambda handler: respond(handler, status, text)


@pytest.mark.parametrize(
    "answer",
    [
        reset,
        html_error,
        responds(503, '"busy"'),
        responds(503, "null"),
        responds(503, "[]"),
        responds(400, '{"__type": 7}'),
        responds(400, '{"message": []}'),
    ],
)
def test_broken_response_is_retried(
    endpoint: Endpoint, transport: PutMetricDataTransport, answer: Any
) -> None:
    endpoint.answer = answer
    outcome = transport.send(request_of(DATUM))
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code
    assert len(endpoint.requests) == 1


def test_silent_endpoint_times_out(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_session, "READ_TIMEOUT", 0.2)
    stuck = PutMetricDataTransport("us-east-1", endpoint.url)
    with socket.socket() as listening:
        endpoint.answer = lambda handler: listening.close() or handler.rfile.read(1)
        outcome = attempt(stuck, DATUM)
    stuck.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "ReadTimeoutError")


def test_refused_connection_is_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        opened = PutMetricDataTransport("us-east-1", f"http://127.0.0.1:{taken.getsockname()[1]}")
        outcome = opened.send(request_of(DATUM))
        opened.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "EndpointConnectionError")


def test_unexpected_data_falls_back_to_botocores_loader(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:

    def surprised(*_: object) -> dict[str, Any]:
        raise KeyError("shapes")

    monkeypatch.setattr(aws_session, "_lean_service", surprised)
    monkeypatch.setattr(aws_session, "_lean_endpoints", surprised)
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    assert opened.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    opened.close()
