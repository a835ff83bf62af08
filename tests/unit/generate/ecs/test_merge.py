"""Adding the exporter to a task definition of the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs.task_definition import task_definition
from tests.support.task_definitions import exporter_of


def merged(folder: Path, definition: Any, **options: Any) -> dict[str, Any]:
    """Return the definition with a sidecar for an inf2.xlarge."""
    path = folder / "task.json"
    path.write_text(definition if isinstance(definition, str) else json.dumps(definition))
    sidecar = {"instance_type": "inf2.xlarge", "workload": "none", "launch": "sidecar"}
    return task_definition(**{**sidecar, **options}, into=str(path))


def task(**more: Any) -> dict[str, Any]:
    """Return a definition with one container."""
    return {"family": "app", "containerDefinitions": [{"name": "app", "image": "app"}], **more}


def test_the_definition_is_kept(tmp_path: Path) -> None:
    own = task(cpu="256", volumes=[{"name": "data"}], taskRoleArn="role")
    result = merged(tmp_path, own)
    assert result["volumes"] == [
        {"name": "data"},
        {"name": "spool", "host": {"sourcePath": "/var/lib/neuron-exporter"}},
    ]
    assert result["containerDefinitions"][0] == own["containerDefinitions"][0]
    assert result.keys() - own.keys() == {"placementConstraints"}


def test_adding_it_again_replaces_it(tmp_path: Path) -> None:
    first = merged(tmp_path, task(), image="exporter:1")
    second = merged(tmp_path, {"taskDefinition": {**first, "revision": 3}}, image="exporter:2")
    assert exporter_of(second)["image"] == "exporter:2"
    assert {**second, "containerDefinitions": []} == {**first, "containerDefinitions": []}


@pytest.mark.parametrize(
    ("network", "port"),
    [
        (None, {"containerPort": 9415, "hostPort": 0, "protocol": "tcp"}),
        ("awsvpc", {"containerPort": 9415, "protocol": "tcp"}),
        ("host", {"containerPort": 9415, "hostPort": 9415, "protocol": "tcp"}),
    ],
)
def test_the_port_fits_the_network_mode(
    tmp_path: Path, network: str | None, port: dict[str, Any]
) -> None:
    own = task() if network is None else task(networkMode=network)
    assert exporter_of(merged(tmp_path, own))["portMappings"] == [port]


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ("{", "is not JSON"),
        ([], "must have containerDefinitions"),
        ({"containerDefinitions": "app"}, "must have containerDefinitions"),
        (
            {"containerDefinitions": [{"name": "app", "essential": False}]},
            "must have an essential container beside the exporter",
        ),
    ],
)
def test_files_that_are_no_definition(tmp_path: Path, definition: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        merged(tmp_path, definition)


def test_it_is_for_sidecars_of_your_own_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--into: needs --with none and --launch sidecar"):
        merged(tmp_path, task(), workload="inference")
