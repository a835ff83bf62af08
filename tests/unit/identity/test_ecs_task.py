"""Identity from the ECS task metadata endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.identity import ecs_task
from neuron_exporter.model import Machine
from tests.support import metadata
from tests.support.metadata import TASK, Responder, respond

CLUSTER = frozenset({"cluster"})


def test_task() -> None:
    with metadata.ecs() as server:
        assert ecs_task.lookup(server.url, CLUSTER) == (
            Machine(
                cluster="training",
                service="resnet-inference",
                task_family="resnet",
                task_id="158d1c8083dd49d6b527399fd6414f5c",
                account="123456789012",
                region="us-west-2",
                availability_zone="us-west-2d",
            ),
            "",
        )
        assert server.requests == ["GET /v4/0123/task"]


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"Cluster": "arn:aws:ecs:us-west-2:123456789012:cluster/big"}, "cluster", "big"),
        ({"TaskARN": "arn:aws-cn:ecs:cn-north-1:1:task/abc"}, "task_id", "abc"),
        ({"TaskARN": "arn:aws-cn:ecs:cn-north-1:1:task/c/abc"}, "region", "cn-north-1"),
        ({"TaskARN": "arn:aws:s3:::task/abc"}, "task_id", ""),
        ({"TaskARN": 5}, "region", ""),
        ({"ServiceName": None, "Group": "service:old"}, "service", "old"),
        ({"ServiceName": None, "Group": "family:resnet"}, "service", ""),
        ({"Family": ["resnet"]}, "task_family", ""),
    ],
)
def test_task_variants(change: dict[str, Any], field: str, value: str) -> None:
    assert getattr(ecs_task.parse_task({**TASK, **change}), field) == value


@pytest.mark.parametrize(
    ("responder", "error"),
    [
        (metadata.respond_status(404), "HTTP status 404"),
        (metadata.respond_status(500), "HTTP status 500"),
        (respond("<html>"), "not JSON"),
    ],
)
def test_errors(responder: Responder, error: str) -> None:
    with metadata.ecs(responder) as server:
        result = ecs_task.lookup(server.url, CLUSTER)
    assert result.machine == Machine()
    assert error in result.error


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"ECS_CONTAINER_METADATA_URI_V4": " "}, None),
        (
            {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/x"},
            "http://169.254.170.2/v4/x",
        ),
    ],
)
def test_endpoint(variables: dict[str, str], url: str | None) -> None:
    assert ecs_task.endpoint(variables) == url
