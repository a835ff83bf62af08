"""PutMetricData over real HTTP: one attempt, and a verdict on how it ended."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from exporter.sinks.cloudwatch import api
from exporter.sinks.cloudwatch.api import Api
from exporter.sinks.cloudwatch.datums import requests
from exporter.sinks.cloudwatch.transport import Verdict
from tests.support.endpoint import Answer, Endpoint, cloudwatch_endpoint, refuse, respond
from tests.support.http import serving
from tests.support.waiting import wait_for

DATUM: dict[str, Any] = {
    "MetricName": "NeuronCoreUtilization",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
    "Timestamp": datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    "Unit": "Percent",
    "Values": [7.0, 15.5, 1 / 3],
    "Counts": [1.0, 2.0, 3.0],
}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, and no metadata service to ask for others."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """CloudWatch's place."""
    with cloudwatch_endpoint() as started:
        yield started


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


def test_without_credentials_it_is_said_where_they_were_looked_for(
    endpoint: Endpoint, transport: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No credentials is one clear outcome, and nothing is sent."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    outcome = Api("us-east-1", endpoint.url).send("NeuronExporter", [DATUM])
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "NoCredentials")
    assert "role" in outcome.message
    assert endpoint.requests == []


ROLE = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "found",
    "SecretAccessKey": "found",
    "Token": "found",
    "Expiration": "2100-01-01T00:00:00Z",
}


class Roles(BaseHTTPRequestHandler):
    """Gives credentials as the instance's metadata service and the container's agent do."""

    status = 200

    def do_GET(self) -> None:
        """Answer with the token, the name of the role, or its credentials."""
        naming = self.command == "PUT" or self.path.endswith("/security-credentials/")
        respond(self, self.status, "name" if naming else json.dumps(ROLE))

    do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "variable", ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
)
def test_credentials_that_come_later_are_used(
    endpoint: Endpoint, transport: Api, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A role that could not be asked at the first attempt is asked again at the next."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    with HTTPServer(("127.0.0.1", 0), Roles) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(Roles, "status", 500)
        first = transport.send("NeuronExporter", [DATUM])
        assert (first.verdict, endpoint.requests) == (Verdict.RETRY, [])
        monkeypatch.setattr(Roles, "status", 200)
        assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
        server.shutdown()
    assert "Credential=found/" in endpoint.headers[0]["Authorization"]


def test_the_exchange_of_a_token_is_bounded_too(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token service that never answers costs one attempt of the same length, not minutes."""
    monkeypatch.setattr(api, "READ_TIMEOUT", 0.2)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    token = tmp_path / "token"
    token.write_text("a.b.c")
    outcomes = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        opened = Api("us-east-1", endpoint.url)
        threading.Thread(
            target=lambda: outcomes.append(opened.send("NeuronExporter", [DATUM])), daemon=True
        ).start()
        (outcome,) = wait_for(lambda: outcomes, 10)
        opened.close()
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "ReadTimeoutError")
    assert not outcome.ambiguous  # there was no request yet


REFUSAL = "<ErrorResponse><Error><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


class Tokens(BaseHTTPRequestHandler):
    """Refuses to exchange a token, as AWS's token service words it."""

    status, code = 0, ""

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        respond(self, self.status, REFUSAL.format(self.code))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Credentials come for a token, from a service that gives none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    token = tmp_path / "token"
    token.write_text("a.b.c")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    with serving(Tokens) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        yield


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalFailure"), (400, "ValidationError"), (413, "TooLarge")]
)
def test_a_refusal_of_credentials_is_none_of_the_request(
    endpoint: Endpoint, transport: Api, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """An error of the token service, a wrong role say, neither makes a request ambiguous nor gives
    it up: it was not made."""
    monkeypatch.setattr(Tokens, "status", status)
    monkeypatch.setattr(Tokens, "code", code)
    outcome = transport.send("NeuronExporter", [DATUM])
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, code)
    assert not outcome.ambiguous
    assert endpoint.requests == []


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
