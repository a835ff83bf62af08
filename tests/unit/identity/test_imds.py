"""Identity from EC2's instance metadata service."""

from __future__ import annotations

import pytest

from neuron_exporter.identity import imds, local_http
from neuron_exporter.model import Machine
from tests.support import metadata
from tests.support.metadata import DOCUMENT, IDENTITY_DOCUMENT, TAGS, Responder, respond

INSTANCE = Machine(
    instance_id="i-0fedcba9876543210",
    instance_type="trn1.32xlarge",
    availability_zone="us-west-2b",
    region="us-west-2",
    account="123456789012",
)
GROUP = frozenset({"auto_scaling_group"})


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_DISABLED": "TRUE"}, None),
        ({"AWS_EC2_METADATA_DISABLED": "false"}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]:99/x/"}, "http://[::1]:99/x/"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
    ],
)
def test_endpoint(variables: dict[str, str], url: str | None) -> None:
    assert imds.endpoint(variables) == url


def test_identity_document() -> None:
    with metadata.imds() as server:
        assert imds.lookup(server.url + "/", frozenset({"instance_id"})) == (INSTANCE, "")
        assert server.requests == ["PUT /latest/api/token", f"GET {DOCUMENT}"], "and nothing else"


def test_tags() -> None:
    tags = {"aws:autoscaling:groupName": "fleet a", "Name": "worker-7", "Owner": "x"}
    with metadata.imds(metadata.imds_responses(**tags)) as server:
        machine, error = imds.lookup(server.url, GROUP | {"instance_name"})
        assert (machine.auto_scaling_group, machine.instance_name) == ("fleet a", "worker-7")
        assert error == ""
        assert not server.requests_for("Owner")


@pytest.mark.parametrize(
    ("tags", "error"),
    [({}, "not exposed (InstanceMetadataTags)"), ({"Name": "x"}, "has no tag aws:autoscaling")],
)
def test_without_tags(tags: dict[str, str], error: str) -> None:
    """Missing tags cost only their own fields."""
    with metadata.imds(metadata.imds_responses(**tags)) as server:
        result = imds.lookup(server.url, GROUP)
    assert result.machine == INSTANCE
    assert error in result.error


@pytest.mark.parametrize("missing", [{"subnet_id"}, {"subnet_id", "instance_name"}])
def test_subnet(missing: set[str]) -> None:
    """It is looked up also where tags are not exposed, which is EC2's default."""
    responses = metadata.imds_responses()
    responses["/latest/meta-data/mac"] = respond("02:29:96:8f:6a:2d")
    path = "/latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/subnet-id"
    responses[path] = respond("subnet-0a1b")
    with metadata.imds(responses) as server:
        assert imds.lookup(server.url, missing).machine.subnet_id == "subnet-0a1b"


@pytest.mark.parametrize(
    ("path", "responder", "error"),
    [
        ("/latest/api/token", metadata.respond_status(403), "no token: HTTP status 403"),
        ("/latest/api/token", metadata.respond_status(302), "no token: HTTP status 302"),
        (
            "/latest/api/token",
            respond("<html>sign in</html>"),
            "no token: the response is not a token",
        ),
        ("/latest/api/token", respond("a\r\nX: y"), "no token: the response is not a token"),
        ("/latest/api/token", respond(b""), "no token: the response is not a token"),
        (DOCUMENT, metadata.respond_status(404), "no identity document: HTTP status 404"),
        (DOCUMENT, metadata.respond_status(500), "no identity document: HTTP status 500"),
        (DOCUMENT, respond("<html>sign in</html>"), "not JSON"),
        (DOCUMENT, respond(b"\xff\xfe"), "not JSON"),
        (DOCUMENT, respond("[" * 100_000), "not JSON"),
        (DOCUMENT, respond("[1]"), "not a JSON object"),
        (DOCUMENT, respond(b"x" * (local_http.MAX_BODY_BYTES + 1)), "larger than 1048576 bytes"),
    ],
)
def test_errors(path: str, responder: Responder, error: str) -> None:
    """Error statuses, a proxy's page and garbage become an error, never a field."""
    with metadata.imds({**metadata.imds_responses(), path: responder}) as server:
        result = imds.lookup(server.url, frozenset({"instance_id"}))
    assert result.machine == Machine()
    assert error in result.error


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("instanceId", "localhost", "instance_id"),
        ("instanceId", 7, "instance_id"),
        ("instanceType", "<b>", "instance_type"),
        ("region", "us-west-2.evil.example/", "region"),
        ("accountId", None, "account"),
    ],
)
def test_invalid_field_is_skipped(key: str, value: object, field: str) -> None:
    document = {**IDENTITY_DOCUMENT, key: value}
    with metadata.imds({**metadata.imds_responses(), DOCUMENT: respond(document)}) as server:
        machine, _ = imds.lookup(server.url, frozenset({field}))
    assert getattr(machine, field) == ""
    assert machine.availability_zone == "us-west-2b"


def test_control_characters_are_removed() -> None:
    tags = {**metadata.imds_responses(Name="x"), f"{TAGS}/Name": respond("a\x1b[31m\nb")}
    with metadata.imds(tags) as server:
        name = imds.lookup(server.url, frozenset({"instance_name"})).machine.instance_name
    assert name.isprintable()


@pytest.mark.parametrize("responder", [metadata.never_respond, metadata.respond_slowly])
def test_deadline(monkeypatch: pytest.MonkeyPatch, responder: Responder) -> None:
    """A server that never answers, and one that sends byte by byte, both end with the deadline."""
    monkeypatch.setattr(local_http, "TIMEOUT", 0.3)
    with metadata.imds({"/latest/api/token": responder}) as server:
        assert imds.lookup(server.url, GROUP) == (Machine(), "no token: no answer within 0.3 s")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://127.0.0.1", "is not an http:// URL"),
        ("127.0.0.1", "is not an http:// URL"),
        ("http://127.0.0.1:99999", "is not an http:// URL"),
        ("http://[::1", "is not an http:// URL"),
        ("http://127.0.0.1:1", "refused"),
        ("http://127.0.0.1/a b", "no token"),
    ],
)
def test_unusable_address(url: str, error: str) -> None:
    result = imds.lookup(url, GROUP)
    assert result.machine == Machine()
    assert error in result.error


def test_ignores_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with metadata.imds() as server:
        assert imds.lookup(server.url, GROUP).machine == INSTANCE
