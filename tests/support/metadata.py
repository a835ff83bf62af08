"""Real HTTP servers in the place of EC2's metadata service and of ECS's agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http import serving

TOKEN = "AQAEAM-token=="  # noqa: S105 (nobody's)
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

OURS = {"DockerId": "e" * 64, "Name": "neuron-exporter", "Type": "NORMAL"}
APP = {"DockerId": "a" * 64, "Name": "app", "Type": "NORMAL"}
PAUSE = {"DockerId": "f" * 64, "Name": "~internal~ecs~pause", "Type": "CNI_PAUSE"}

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
    "Containers": [OURS, APP, PAUSE],
}

Answer = Callable[["Metadata", BaseHTTPRequestHandler], None]


def body(content: str | bytes | dict[str, Any], status: int = 200) -> Answer:
    """An answer with this content."""
    if isinstance(content, dict):
        content = json.dumps(content)
    data = content.encode() if isinstance(content, str) else content

    def answer(_: Metadata, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(number: int) -> Answer:
    """An answer that is no good."""
    return body("<html><body>no</body></html>", number)


def silent(server: Metadata, _: BaseHTTPRequestHandler) -> None:
    """No answer, as where the token's packets die on the way."""
    server.closing.wait()


def dripping(server: Metadata, handler: BaseHTTPRequestHandler) -> None:
    """An answer of which a byte comes now and then, for longer than anybody should listen."""
    for _ in range(60):
        if server.closing.wait(0.05):
            return
        handler.wfile.write(b"X")


class Metadata:
    """What it was asked, and what it answers. What is not in `answers` is not there."""

    def __init__(self, answers: dict[str, Answer], *, token: bool) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.closing = threading.Event()
        self.token = token
        self.url = ""

    def paths(self, part: str) -> list[str]:
        """The paths with this in them that were asked for."""
        return [path for path in list(self.asked) if part in path]


def imds_answers(**tags: str) -> dict[str, Answer]:
    """An instance's answers; its tags are exposed if there are any."""
    answers = {"/latest/api/token": body(TOKEN), DOCUMENT: body(IDENTITY_DOCUMENT)}
    if tags:
        answers[TAGS] = body("\n".join(tags))
        answers |= {f"{TAGS}/{name}": body(value) for name, value in tags.items()}
    return answers


@contextmanager
def imds(answers: dict[str, Answer] | None = None) -> Iterator[Metadata]:
    """EC2's metadata service: a PUT gives a token, and without one nothing is told."""
    with _serving(Metadata(answers or imds_answers(), token=True)) as server:
        yield server


@contextmanager
def ecs(task: Answer | None = None) -> Iterator[Metadata]:
    """The agent's endpoint for one container."""
    answers = {"/v4/0123": body(OURS), "/v4/0123/task": task or body(TASK)}
    with _serving(Metadata(answers, token=False)) as server:
        server.url += "/v4/0123"
        yield server


def introspected(
    family: str, id: str, containers: Mapping[str, str], region: str = "us-west-2"
) -> dict[str, Any]:
    """A task as the agent tells all of the machine's: names of containers by their ids."""
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
def introspection(*tasks: dict[str, Any]) -> Iterator[Metadata]:
    """The agent's endpoint for the whole machine."""
    answers = {"/v1/tasks": body({"Tasks": [*tasks]})}
    with _serving(Metadata(answers, token=False)) as server:
        yield server


@contextmanager
def _serving(metadata: Metadata) -> Iterator[Metadata]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            wanted = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            self._answer(wanted.isdigit() and 1 <= int(wanted) <= 21600, 400)

        def do_GET(self) -> None:
            given = self.headers.get("X-aws-ec2-metadata-token") == TOKEN
            self._answer(given or not metadata.token, 401)

        def _answer(self, allowed: bool, otherwise: int) -> None:
            metadata.asked.append(f"{self.command} {self.path}")
            answer = metadata.answers.get(self.path, status(404))
            is_token = self.path == "/latest/api/token"
            if is_token and self.command != "PUT":
                answer = status(405)
            (answer if allowed else status(otherwise))(metadata, self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as metadata.url:
        try:
            yield metadata
        finally:
            metadata.closing.set()
