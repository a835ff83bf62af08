"""Services of ECS tasks, from the DescribeTasks API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.identity.owners.ecs_services import MAX_TASKS_PER_REQUEST, EcsServiceProvider
from tests.support.http import serving


class EcsApi:
    """ECS's DescribeTasks API on a real socket. Records its requests."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.groups: dict[str, str] = {}
        self.error_type = ""
        self.url = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Describe the tasks, or return an error."""
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.headers["X-Amz-Target"].endswith(".DescribeTasks")
        assert "/us-west-2/ecs/" in handler.headers["Authorization"]
        self.requests.append(request)
        tasks = [
            {"taskArn": arn, "group": self.groups[arn]}
            for arn in request["tasks"]
            if arn in self.groups
        ]
        document = {"tasks": tasks, "failures": []}
        if self.error_type:
            document = {"__type": self.error_type, "message": "not authorized"}
        body = json.dumps(document).encode()
        handler.send_response(400 if self.error_type else 200)
        handler.send_header("Content-Type", "application/x-amz-json-1.1")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def _ecs() -> Iterator[EcsApi]:
    ecs = EcsApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ecs.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as ecs.url:
        yield ecs


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch, fake_credentials: None) -> Iterator[EcsApi]:
    """Run the ECS API at botocore's endpoint."""
    with _ecs() as ecs:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", ecs.url)
        yield ecs


def arn(number: int) -> str:
    """Return a task's ARN."""
    return f"arn:aws:ecs:us-west-2:123456789012:task/training/{number:032x}"


def test_services_are_cached(ecs: EcsApi) -> None:
    ecs.groups = {arn(1): "service:web", arn(2): "family:batch"}
    services = EcsServiceProvider()
    expected = {arn(1): "web", arn(2): "", arn(3): ""}
    for _ in range(2):
        assert services.lookup([arn(1), arn(2), arn(3)]) == (expected, "")
    assert ecs.requests == [{"cluster": "training", "tasks": [arn(1), arn(2), arn(3)]}]


def test_requests_are_split(ecs: EcsApi) -> None:
    tasks = list(map(arn, range(MAX_TASKS_PER_REQUEST + 1)))
    EcsServiceProvider().lookup(tasks)
    assert [len(each["tasks"]) for each in ecs.requests] == [MAX_TASKS_PER_REQUEST, 1]


def test_missing_permission(ecs: EcsApi) -> None:
    """The error is reported, and the request repeated after a minute."""
    now = [0.0]
    services = EcsServiceProvider(clock=lambda: now[0])
    ecs.error_type = "AccessDeniedException"
    found, error = services.lookup([arn(1)])
    assert found == {}
    assert "ecs:DescribeTasks" in error
    assert "AccessDenied" in error
    ecs.error_type, ecs.groups = "", {arn(1): "service:nightly"}
    assert services.lookup([arn(1)]) == ({}, error)
    assert len(ecs.requests) == 1
    now[0] += 60
    assert services.lookup([arn(1)]) == ({arn(1): "nightly"}, "")
