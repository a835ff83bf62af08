"""Where credentials come from, when they are looked for again, and what that costs."""

from __future__ import annotations

import gc
import json
import resource
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch.put_metric_data import Api
from neuron_exporter.sinks.cloudwatch.transport import Verdict
from tests.support.endpoint import Answer, Endpoint, accept, refuse, respond
from tests.support.http import serving
from tests.support.processes import descriptors
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nobodys_credentials")

DATUM: dict[str, Any] = {"MetricName": "NeuronCoreUtilization", "Value": 7.0}


@pytest.fixture
def transport(endpoint: Endpoint) -> Iterator[Api]:
    """A transport to it."""
    opened = Api("us-east-1", endpoint.url)
    yield opened
    opened.close()


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


KEYS = "[default]\naws_access_key_id = {0}\naws_secret_access_key = {0}\naws_session_token = {0}\n"


@pytest.fixture
def keys(nobodys_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A shared credentials file, with credentials that are old."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    path = tmp_path / "credentials"
    path.write_text(KEYS.format("old"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def refuses_old(status: int, code: str) -> Answer:
    """An answer that takes only credentials other than the old ones."""

    def respond_so(handler: BaseHTTPRequestHandler) -> None:
        old = "Credential=old/" in handler.headers["Authorization"]
        (refuse(status, code) if old else accept)(handler)

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
def test_credentials_that_were_replaced_are_found(
    endpoint: Endpoint, transport: Api, keys: Path, status: int, code: str
) -> None:
    """What rotates a file of credentials, or gives a machine those of another user, needs no
    restart: once the old ones are refused, the next request has the new ones."""
    assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    endpoint.answer = refuses_old(status, code)
    keys.write_text(KEYS.format("new"))
    refused = transport.send("NeuronExporter", [DATUM])
    assert (refused.verdict, refused.code, refused.ambiguous) == (Verdict.RETRY, code, False)
    assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    assert transport.send("NeuronExporter", [DATUM]).verdict is Verdict.DELIVERED
    assert endpoint.connections == 2  # the client that found the new ones stays


def test_a_trouble_that_is_not_of_credentials_keeps_the_client(
    endpoint: Endpoint, transport: Api, keys: Path
) -> None:
    """An outage or a throttle costs neither new connections nor questions for credentials."""
    endpoint.answer = refuses_old(400, "ThrottlingException")
    for _ in range(3):
        assert transport.send("NeuronExporter", [DATUM]).code == "ThrottlingException"
    assert endpoint.connections == 1


@pytest.mark.usefixtures("keys")
def test_credentials_that_stay_refused_cost_no_memory(endpoint: Endpoint, transport: Api) -> None:
    """Looking for others each minute of a long weekend leaves nothing behind, though the daemon's
    collector comes rarely: here, never."""
    endpoint.answer = refuses_old(400, "ExpiredToken")

    def refused(times: int) -> tuple[int, int]:
        for _ in range(times):
            assert transport.send("NeuronExporter", [DATUM]).code == "ExpiredToken"
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize(), descriptors()

    gc.collect()
    gc.disable()
    try:
        memory, open_before = refused(20)
        later, open_after = refused(100)
    finally:
        gc.enable()
    assert later - memory < 4 * 2**20
    assert open_after <= open_before + 1  # the endpoint may still be closing the last


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
def tokens(
    nobodys_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
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
