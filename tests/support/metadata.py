"""Real HTTP servers in place of EC2's metadata service and the ECS agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http import serving

TOKEN = "AQAEAM-token=="  # noqa: S105 (not a secret)
TAGS = "/latest/meta-data/tags/instance"
DOCUMENT = "/latest/dynamic/instance-identity/document"

IDENTITY_DOCUMENT = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "us-west-2b",
    "billingProducts": None,
    "imageId": "ami-0123456789abcdef0",
    "instanceId": "i-0fedcba9876543210",
    "instanceType": "trn1.32xlarge",
    "pendingTime": "2026-08-20T08:00:00Z",
    "privateIp": "10.0.0.7",
    "region": "us-west-2",
    "version": "2017-09-30",
}

OWN_CONTAINER = {"DockerId": "e" * 64, "Name": "neuron-exporter", "Type": "NORMAL"}
APP_CONTAINER = {"DockerId": "a" * 64, "Name": "app", "Type": "NORMAL"}
PAUSE_CONTAINER = {"DockerId": "f" * 64, "Name": "~internal~ecs~pause", "Type": "CNI_PAUSE"}

ROLE = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "of-the-role",
    "SecretAccessKey": "geheim",
    "Token": "geheim",
    "Expiration": "2100-01-01T00:00:00Z",
}

TASK = {
    "Cluster": "training",
    "TaskARN": "arn:aws:ecs:us-west-2:123456789012:task/training/158d1c8083dd49d6b527399fd6414f5c",
    "Family": "resnet",
    "ServiceName": "resnet-inference",
    "Revision": "5",
    "DesiredStatus": "RUNNING",
    "KnownStatus": "RUNNING",
    "AvailabilityZone": "us-west-2d",
    "LaunchType": "EC2",
    "Containers": [OWN_CONTAINER, APP_CONTAINER, PAUSE_CONTAINER],
}

Responder = Callable[["MetadataServer", BaseHTTPRequestHandler], None]


def respond(content: str | bytes | dict[str, Any], status: int = 200) -> Responder:
    """Return a responder with this content."""
    if isinstance(content, dict):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content

    def send(_: MetadataServer, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return send


def respond_status(number: int) -> Responder:
    """Return a responder with an error page."""
    return respond("<html><body>no</body></html>", number)


def never_respond(server: MetadataServer, _: BaseHTTPRequestHandler) -> None:
    """Never respond, as with a hop limit of 1."""
    server.closing.wait()


def respond_slowly(server: MetadataServer, handler: BaseHTTPRequestHandler) -> None:
    """Send single bytes at intervals, for longer than the client's deadline."""
    for _ in range(60):
        if server.closing.wait(0.05):
            return
        handler.wfile.write(b"X")


class MetadataServer:
    """The requests and responses of a server. A path that is not in `responses` is a 404."""

    def __init__(self, responses: dict[str, Responder], *, token: bool) -> None:
        self.responses = responses
        self.requests: list[str] = []
        self.closing = threading.Event()
        self.token = token
        self.url = ""

    def requests_for(self, part: str) -> list[str]:
        """Return the requests whose path contains this text."""
        return [path for path in list(self.requests) if part in path]


def imds_responses(**tags: str) -> dict[str, Responder]:
    """Return the responses of an instance. Its tags are exposed if any are given."""
    responses = {"/latest/api/token": respond(TOKEN), DOCUMENT: respond(IDENTITY_DOCUMENT)}
    if tags:
        responses[TAGS] = respond("\n".join(tags))
        responses |= {f"{TAGS}/{name}": respond(value) for name, value in tags.items()}
    return responses


@contextmanager
def imds(
    responses: dict[str, Responder] | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[MetadataServer]:
    """Run EC2's metadata service, version 2: every GET needs the token that a PUT returned."""
    server = MetadataServer(responses or imds_responses(), token=True)
    with _serving(server, host, port):
        yield server


def role_responses() -> dict[str, Responder]:
    """Return the responses that contain the credentials of the instance's role."""
    path = "/latest/meta-data/iam/security-credentials/"
    return {path: respond("role"), f"{path}role": respond(ROLE)}


@contextmanager
def credentials(host: str, port: int) -> Iterator[MetadataServer]:
    """Run the credentials endpoint of an ECS task or of a pod, at `/v1/credentials`."""
    server = MetadataServer({"/v1/credentials": respond(ROLE)}, token=False)
    with _serving(server, host, port):
        yield server


@contextmanager
def ecs(task: Responder | None = None) -> Iterator[MetadataServer]:
    """Run the task metadata endpoint of one container."""
    responses = {"/v4/0123": respond(OWN_CONTAINER), "/v4/0123/task": task or respond(TASK)}
    with _serving(MetadataServer(responses, token=False)) as server:
        server.url += "/v4/0123"
        yield server


def agent_task(
    family: str, id: str, containers: Mapping[str, str], region: str = "us-west-2"
) -> dict[str, Any]:
    """Return a task as the agent's introspection endpoint lists it, with container names by id."""
    return {
        "Arn": f"arn:aws:ecs:{region}:123456789012:task/training/{id}",
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Family": family,
        "Version": "7",
        "Containers": [
            {"DockerId": docker, "DockerName": f"ecs-{family}-7-{name}-1", "Name": name}
            for docker, name in containers.items()
        ],
    }


@contextmanager
def agent_server(*tasks: dict[str, Any]) -> Iterator[MetadataServer]:
    """Run the agent's introspection endpoint."""
    responses = {"/v1/tasks": respond({"Tasks": [*tasks]})}
    with _serving(MetadataServer(responses, token=False)) as server:
        yield server


@contextmanager
def _serving(
    metadata: MetadataServer, host: str = "127.0.0.1", port: int = 0
) -> Iterator[MetadataServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            self._respond(lifetime.isdigit() and 1 <= int(lifetime) <= 21600, 400)

        def do_GET(self) -> None:
            has_token = self.headers.get("X-aws-ec2-metadata-token") == TOKEN
            self._respond(has_token or not metadata.token, 401)

        def _respond(self, allowed: bool, error: int) -> None:
            metadata.requests.append(f"{self.command} {self.path}")
            responder = metadata.responses.get(self.path, respond_status(404))
            is_token = self.path == "/latest/api/token"
            if is_token and self.command != "PUT":
                responder = respond_status(405)
            (responder if allowed else respond_status(error))(metadata, self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler, host, port) as metadata.url:
        try:
            yield metadata
        finally:
            metadata.closing.set()
