"""Lookup of credentials: sources, renewal and cost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery import aws_session
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.cloudwatch_sinks import request_of
from tests.support.endpoint import Answer, Endpoint, accept, reject, respond
from tests.support.http import serving
from tests.support.processes import assert_leaks_nothing
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("fake_credentials")

DATUM: dict[str, Any] = {"MetricName": "NeuronCoreUtilization", "Value": 7.0}


@pytest.fixture
def transport(endpoint: Endpoint) -> Iterator[PutMetricDataTransport]:
    """A transport to the endpoint."""
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    yield opened
    opened.close()


def test_missing_credentials_are_reported(
    endpoint: Endpoint, transport: PutMetricDataTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    outcome = PutMetricDataTransport("us-east-1", endpoint.url).send(request_of(DATUM))
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
    """An instance metadata service and container agent that supplies credentials."""

    status = 200

    def do_GET(self) -> None:
        """Respond with the token, the role's name or its credentials."""
        naming = self.command == "PUT" or self.path.endswith("/security-credentials/")
        respond(self, self.status, "name" if naming else json.dumps(ROLE))

    do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize(
    "variable", ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
)
def test_late_credentials_are_used(
    endpoint: Endpoint,
    transport: PutMetricDataTransport,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    with HTTPServer(("127.0.0.1", 0), Roles) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(Roles, "status", 500)
        first = transport.send(request_of(DATUM))
        assert (first.verdict, endpoint.requests) == (Verdict.RETRY, [])
        monkeypatch.setattr(Roles, "status", 200)
        assert transport.send(request_of(DATUM)).verdict is Verdict.DELIVERED
        server.shutdown()
    assert "Credential=found/" in endpoint.headers[0]["Authorization"]


KEYS = "[default]\naws_access_key_id = {0}\naws_secret_access_key = {0}\naws_session_token = {0}\n"


@pytest.fixture
def keys(fake_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A shared credentials file with outdated credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    path = tmp_path / "credentials"
    path.write_text(KEYS.format("old"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def refuses_old(status: int, code: str) -> Answer:
    """Return a responder that rejects the outdated credentials."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        old = "Credential=old/" in handler.headers["Authorization"]
        (reject(status, code) if old else accept)(handler)

    return respond_so


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (400, "ExpiredTokenException"),
        (400, "UnrecognizedClientException"),
        (403, "InvalidClientTokenId"),
        (400, "InvalidSignatureException"),
        (403, "SignatureDoesNotMatch"),
        (400, "AccessDeniedException"),
        (403, "AccessDenied"),
    ],
)
def test_replaced_credentials_are_found(
    endpoint: Endpoint, transport: PutMetricDataTransport, keys: Path, status: int, code: str
) -> None:
    assert transport.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    endpoint.answer = refuses_old(status, code)
    keys.write_text(KEYS.format("new"))
    rejected = transport.send(request_of(DATUM))
    assert (rejected.verdict, rejected.code, rejected.ambiguous) == (Verdict.RETRY, code, False)
    assert transport.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    assert transport.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    assert endpoint.connections == 2  # the client with the new credentials is kept


def test_other_errors_keep_the_client(
    endpoint: Endpoint, transport: PutMetricDataTransport, keys: Path
) -> None:
    endpoint.answer = refuses_old(400, "ThrottlingException")
    for _ in range(3):
        assert transport.send(request_of(DATUM)).code == "ThrottlingException"
    assert endpoint.connections == 1


@pytest.mark.usefixtures("keys")
def test_rejected_credentials_leak_nothing(
    endpoint: Endpoint, transport: PutMetricDataTransport
) -> None:
    endpoint.answer = refuses_old(400, "ExpiredToken")

    def rejected() -> None:
        assert transport.send(request_of(DATUM)).code == "ExpiredToken"

    assert_leaks_nothing(rejected)


def test_silent_token_service_times_out(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(aws_session, "READ_TIMEOUT", 0.2)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    token = tmp_path / "token"
    token.write_text("a.b.c")
    outcomes = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        opened = PutMetricDataTransport("us-east-1", endpoint.url)
        threading.Thread(
            target=lambda: outcomes.append(opened.send(request_of(DATUM))), daemon=True
        ).start()
        (outcome,) = wait_for(lambda: outcomes)
        opened.close()
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "ReadTimeoutError")
    assert not outcome.ambiguous  # no request was sent yet


REFUSAL = "<ErrorResponse><Error><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


class Tokens(BaseHTTPRequestHandler):
    """A token service that rejects every token, in AWS's wording."""

    status, code = 0, ""

    def do_POST(self) -> None:
        """Reject the request."""
        self.rfile.read(int(self.headers["Content-Length"]))
        respond(self, self.status, REFUSAL.format(self.code))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def tokens(
    fake_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """Configure a token service that supplies no credentials."""
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
def test_token_service_error_does_not_reject_request(
    endpoint: Endpoint,
    transport: PutMetricDataTransport,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr(Tokens, "status", status)
    monkeypatch.setattr(Tokens, "code", code)
    outcome = transport.send(request_of(DATUM))
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, code)
    assert not outcome.ambiguous
    assert endpoint.requests == []
