"""PutMetricData over real HTTP: one attempt, and a verdict on how it ended."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch.datums import requests
from neuron_exporter.sinks.cloudwatch.put_metric_data import Api
from neuron_exporter.sinks.cloudwatch.transport import Verdict
from tests.support.endpoint import Answer, Endpoint, refuse, respond

pytestmark = pytest.mark.usefixtures("nobodys_credentials")

DATUM: dict[str, Any] = {
    "MetricName": "NeuronCoreUtilization",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
    "Timestamp": datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    "Unit": "Percent",
    "Values": [7.0, 15.5, 1 / 3],
    "Counts": [1.0, 2.0, 3.0],
}


@pytest.fixture
def transport(endpoint: Endpoint) -> Iterator[Api]:
    """A transport to it."""
    opened = Api("us-east-1", endpoint.url)
    yield opened
    opened.close()


def test_a_request_is_what_botocore_itself_sends(endpoint: Endpoint, transport: Api) -> None:
    """Reading less of botocore's data changes nothing that is sent."""
    assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
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


@pytest.mark.parametrize("value", [1 / 3, 1e-7, 1e300, 5.0])
def test_no_request_is_larger_than_a_megabyte(
    endpoint: Endpoint, transport: Api, value: float
) -> None:
    """What goes over the wire, envelope included, keeps the limit, and comes near to it."""
    datum = {**DATUM, "Values": [value] * 150, "Counts": [1.0] * 150}
    namespace = "n" * 255
    for request in requests([datum] * 800):
        assert transport.send(namespace, request).verdict is Verdict.DELIVERED
    sizes = [int(headers["Content-Length"]) for headers in endpoint.headers]
    assert len(sizes) > 1
    assert max(sizes) <= 1_000_000
    assert min(sizes[:-1]) > 950_000


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "https://monitoring.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://monitoring.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://monitoring.us-gov-west-1.amazonaws.com"),
        ("eu-isoe-west-1", "https://monitoring.eu-isoe-west-1.cloud.adc-e.uk"),
    ],
)
def test_every_partition_has_its_endpoint(region: str, host: str) -> None:
    """Regions of all partitions are reached at the address that botocore knows for them."""
    lean = api._client(region, None)
    full = botocore.session.Session().create_client("cloudwatch", region_name=region)
    assert lean.meta.endpoint_url == host == full.meta.endpoint_url
    lean.close()
    full.close()


REFUSED = [
    (400, "InvalidParameterValue", Verdict.NEVER),
    (400, "InvalidParameterValueException", Verdict.NEVER),
    (400, "InvalidParameterCombination", Verdict.NEVER),
    (400, "MissingParameter", Verdict.NEVER),
    (400, "ValidationError", Verdict.NEVER),
    (413, "RequestEntityTooLarge", Verdict.NEVER),
    (413, "SomethingElse", Verdict.NEVER),
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


@pytest.mark.parametrize(("status", "code", "verdict"), REFUSED)
def test_refusals_are_told_apart(
    endpoint: Endpoint, transport: Api, status: int, code: str, verdict: Verdict
) -> None:
    """What would be refused again is given up; everything else may be tried later; once each."""
    endpoint.answer = refuse(status, code)
    outcome = transport.send("NeuronExporter", [DATUM])
    assert outcome.verdict is verdict
    assert outcome.code == code
    of_now = status >= 500 or code in ("Throttling", "ThrottlingException", "ExpiredToken")
    of_now = of_now or code in ("RequestExpired", "SignatureDoesNotMatch")
    assert verdict is Verdict.NEVER or outcome.of_request == (not of_now)
    assert outcome.ambiguous == (status == 500)  # a service that fails may have taken it before
    assert outcome.message
    assert len(endpoint.requests) == 1


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def html_error(handler: BaseHTTPRequestHandler) -> None:
    """Answer as a proxy does."""
    respond(handler, 502, "<html>bad gateway</html>")


def says(status: int, text: str) -> Answer:
    """An answer with this status and body."""
    return lambda handler: respond(handler, status, text)


@pytest.mark.parametrize(
    "answer",
    [
        reset,
        html_error,
        says(503, '"busy"'),
        says(503, "null"),
        says(503, "[]"),
        says(400, '{"__type": 7}'),
        says(400, '{"message": []}'),
    ],
)
def test_a_broken_answer_may_be_tried_later(
    endpoint: Endpoint, transport: Api, answer: Any
) -> None:
    """An answer that is none is a trouble of now; the request is made once."""
    endpoint.answer = answer
    outcome = transport.send("NeuronExporter", [DATUM])
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_never_answers_is_left(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request ends when its time is over."""
    monkeypatch.setattr(api, "READ_TIMEOUT", 0.2)
    stuck = Api("us-east-1", endpoint.url)
    with socket.socket() as listening:
        endpoint.answer = lambda handler: listening.close() or handler.rfile.read(1)
        outcome = stuck.send("NeuronExporter", [DATUM])
    stuck.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "ReadTimeoutError")


def test_nobody_listening_may_be_tried_later() -> None:
    """A refused connection is a trouble of now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        opened = Api("us-east-1", f"http://127.0.0.1:{taken.getsockname()[1]}")
        outcome = opened.send("NeuronExporter", [DATUM])
        opened.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "EndpointConnectionError")


def test_unknown_data_files_are_read_as_botocore_reads_them(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should botocore's data change its form, the client works as before, with more memory."""

    def surprised(_: bytes) -> dict[str, Any]:
        raise KeyError("shapes")

    monkeypatch.setattr(api, "_lean_service", surprised)
    monkeypatch.setattr(api, "_lean_endpoints", surprised)
    opened = Api("us-east-1", endpoint.url)
    assert opened.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    opened.close()
