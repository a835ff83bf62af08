"""Signatures for CloudWatch, and the lookup of credentials."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import product
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config

from neuron_exporter.config.values import SET_HEADERS
from neuron_exporter.sinks.delivery.signing import Signer
from neuron_exporter.sinks.delivery.transport import Verdict
from neuron_exporter.sinks.otlp.settings import SIGNATURE_HEADERS, HeaderFile, TransportSettings
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.endpoint import respond
from tests.support.http import serving
from tests.support.otlp_attempts import assert_delivered, attempt
from tests.support.otlp_front import OtlpFront, aws_error, fail, otlp_front
from tests.support.otlp_requests import request_of
from tests.support.processes import assert_leaks_nothing
from tests.support.sigv4 import Credentials

pytestmark = pytest.mark.usefixtures("fake_credentials")


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """A server in place of CloudWatch, with the fake credentials."""
    with otlp_front(credentials=Credentials(), region="eu-west-1") as started:
        yield started


@pytest.fixture
def transport(front: OtlpFront) -> Iterator[OtlpTransport]:
    """A transport to the server."""
    opened = OtlpTransport("eu-west-1", TransportSettings(endpoint=front.url, sigv4=True))
    yield opened
    opened.close()


@pytest.mark.parametrize("gzip", [True, False])
def test_signature_is_accepted(front: OtlpFront, gzip: bool, tmp_path: Path) -> None:
    value = tmp_path / "value"
    value.write_text("a  b\n")
    settings = TransportSettings(
        endpoint=front.url,
        sigv4=True,
        gzip=gzip,
        headers={"X-Extra": HeaderFile(str(value))},
    )
    transport = OtlpTransport("eu-west-1", settings)
    for _ in range(2):
        assert_delivered(transport)
    transport.close()
    assert front.rejected == []
    assert front.connections == 1
    set_by_transport = {name.lower() for name in front.requests[0].headers} - {"x-extra"}
    assert set_by_transport <= {*SET_HEADERS, *SIGNATURE_HEADERS}  # which the configuration refuses
    scope = front.requests[0].headers["Authorization"]
    assert "/eu-west-1/monitoring/aws4_request" in scope
    assert "content-encoding;" in scope or not gzip


def test_session_token_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    with otlp_front(credentials=Credentials(token="temporary")) as front:  # noqa: S106
        settings = TransportSettings(endpoint=front.url, sigv4=True)
        transport = OtlpTransport("us-east-1", settings)
        assert_delivered(transport)
        transport.close()


def test_wrong_signatures_are_refused(
    front: OtlpFront, transport: OtlpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "SignatureDoesNotMatch")
    assert outcome.message == "HTTP 403: the calculated signature is another"
    assert not outcome.of_request
    assert_delivered(transport)  # with the new credentials
    for other, code in (
        (OtlpTransport("eu-west-1", TransportSettings(endpoint=front.url)), "MissingAuthenticat"),
        (
            OtlpTransport("us-east-1", TransportSettings(endpoint=front.url, sigv4=True)),
            "SignatureDoesNotMatch",
        ),
    ):
        outcome = attempt(other)
        other.close()
        assert outcome.verdict is Verdict.RETRY
        assert outcome.code.startswith(code)


def test_wrong_clock_is_refused() -> None:
    with otlp_front(lambda: time.time() + 600, credentials=Credentials()) as front:
        transport = OtlpTransport("us-east-1", TransportSettings(endpoint=front.url, sigv4=True))
        outcome = attempt(transport)
        transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "InvalidSignatureException")
    assert "signature expired" in outcome.message


# Credentials


@pytest.fixture
def no_credentials(fake_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the fake credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_credentials")
def test_missing_credentials_are_found_later(
    front: OtlpFront, transport: OtlpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "NoCredentials")
    assert "role" in outcome.message
    assert not outcome.of_request
    assert front.connections == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    assert attempt(transport).code == "NoCredentials"  # incomplete
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert_delivered(transport)


KEYS = "[default]\naws_access_key_id = {0}\naws_secret_access_key = {0}\n"


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize(
    "answer",
    [
        aws_error(403, "ExpiredTokenException"),
        aws_error(400, "UnrecognizedClientException"),
        fail(401),
        fail(403),
    ],
)
def test_replaced_credentials_are_found(
    front: OtlpFront,
    transport: OtlpTransport,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: object,
) -> None:
    path = tmp_path / "credentials"
    path.write_text(KEYS.format("test"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    assert_delivered(transport)
    path.write_text(KEYS.format("new"))
    assert_delivered(transport)  # they are read once
    front.respond_with(answer)  # type: ignore[arg-type]
    outcome = attempt(transport)
    assert (outcome.verdict, outcome.of_request) == (Verdict.RETRY, False)
    front.recover()
    front.credentials = Credentials("new", "new")
    assert_delivered(transport)


def test_rejected_credentials_leak_nothing(front: OtlpFront, transport: OtlpTransport) -> None:
    front.respond_with(aws_error(403, "ExpiredTokenException"))

    def rejected() -> None:
        assert attempt(transport).code == "ExpiredTokenException"

    assert_leaks_nothing(rejected)


class Roles(BaseHTTPRequestHandler):
    """A container agent whose credentials expire, and which may fail or hang."""

    failure = ""

    def do_GET(self) -> None:
        """Respond with credentials that have to be renewed."""
        if self.failure == "hang":
            self.rfile.read(1)
            return
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        names = ("AccessKeyId", "SecretAccessKey", "Token")
        role = dict.fromkeys(names, "test") | {"Expiration": soon}
        respond(self, 500 if self.failure else 200, json.dumps(role))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.usefixtures("no_credentials")
def test_failing_agent_is_no_fault_of_the_request(
    front: OtlpFront, transport: OtlpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.credentials = Credentials(token="test")  # noqa: S106
    with serving(Roles) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        assert_delivered(transport)
        monkeypatch.setattr(Roles, "failure", "hang")
        outcome = attempt(transport, deadline=0.5)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "Overdue")
        assert not outcome.ambiguous
        monkeypatch.setattr(Roles, "failure", "status")
        outcome = attempt(transport)
        assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "CredentialRetrievalError")
        assert not outcome.of_request
        monkeypatch.setattr(Roles, "failure", "")
        assert_delivered(transport)
    assert len(front.requests) == 2


REFUSAL = "<ErrorResponse><Error><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


class Tokens(BaseHTTPRequestHandler):
    """A token service that rejects every token."""

    def do_POST(self) -> None:
        """Reject the request."""
        self.rfile.read(int(self.headers["Content-Length"]))
        respond(self, 400, REFUSAL.format("InvalidIdentityToken"))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.usefixtures("no_credentials")
def test_rejected_token_is_reported(
    front: OtlpFront, transport: OtlpTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a.b.c")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    with serving(Tokens) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        outcome = attempt(transport)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "InvalidIdentityToken")
    assert not outcome.of_request
    assert front.connections == 0


# Endpoints


REGIONS = ["us-east-1", "cn-north-1", "us-gov-west-1", "xx-new-1"]


@pytest.mark.parametrize(
    ("region", "fips", "dual_stack"),
    [
        *product(REGIONS, (False, True), (False, True)),
        ("eu-isoe-west-1", False, False),  # its client has no dual stack
    ],
)
def test_endpoint_is_that_of_botocores_client(
    region: str, fips: bool, dual_stack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true" if fips else "false")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true" if dual_stack else "false")
    urls: list[str] = []
    client = botocore.session.Session().create_client(
        "cloudwatch", region_name=region, config=Config(retries={"total_max_attempts": 1})
    )

    class Stop(Exception):
        pass

    def record(request: object, **_: object) -> None:
        urls.append(request.url)  # type: ignore[attr-defined]
        raise Stop

    client.meta.events.register("before-send.cloudwatch.ListMetrics", record)
    with pytest.raises(Stop):
        client.list_metrics()
    client.close()
    assert urls[0].startswith(f"{Signer('monitoring', region).endpoint('cloudwatch')}/")


def test_endpoint_of_the_region_is_the_default(
    front: OtlpFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Signer, "endpoint", lambda *_: front.url)
    transport = OtlpTransport("eu-west-1", TransportSettings(endpoint=None, sigv4=True))
    assert_delivered(transport)
    transport.close()


def test_missing_region_is_reported() -> None:
    transport = OtlpTransport("", TransportSettings(endpoint=None, sigv4=True))
    outcome = attempt(transport)
    transport.close()
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "NoRegionError")
    assert not outcome.of_request


def test_authorities_are_those_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert Signer("monitoring", "eu-west-1").ca_file.endswith("cacert.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests.pem")
    assert Signer("monitoring", "eu-west-1").ca_file == "/requests.pem"
    monkeypatch.setenv("AWS_CA_BUNDLE", "/aws.pem")
    assert Signer("monitoring", "eu-west-1").ca_file == "/aws.pem"


# Memory

SEND = f"""
import sys
from neuron_exporter.sinks.otlp.request import ExportRequest
from neuron_exporter.sinks.otlp.settings import TransportSettings
from neuron_exporter.sinks.otlp.transport import OtlpTransport
settings = TransportSettings(endpoint=sys.argv[1], sigv4=sys.argv[2] == "sigv4")
request = ExportRequest("", "", 0.0, {request_of().body!r})
print(OtlpTransport("eu-west-1", settings).send(request))
print(" ".join(sys.modules))
"""


@pytest.mark.parametrize("auth", ["none", "sigv4"])
def test_botocore_is_imported_for_signatures_only(front: OtlpFront, auth: str) -> None:
    if auth == "none":
        front.credentials = None
    done = subprocess.run(
        [sys.executable, "-c", SEND, front.url, auth], capture_output=True, text=True, check=True
    )
    outcome, modules = done.stdout.splitlines()
    assert "DELIVERED" in outcome
    assert ("botocore" in modules.split()) == (auth == "sigv4")
    assert "boto3" not in modules.split()
