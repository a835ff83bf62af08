"""Adding the exporter to a task definition of the user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs.task_definition import task_definition
from tests.support.task_definitions import exporter_of


def merged(folder: Path, definition: Any, **options: Any) -> dict[str, Any]:
    """Return the definition with a sidecar for an inf2.xlarge."""
    path = folder / "task.json"
    path.write_text(definition if isinstance(definition, str) else json.dumps(definition))
    sidecar = {"instance_type": "inf2.xlarge", "workload": "none", "launch": "sidecar"}
    return task_definition(**{**sidecar, **options}, into=str(path))


def warnings(folder: Path, definition: Any, **options: Any) -> list[str]:
    """Return the warnings about the definition with a sidecar."""
    lines: list[str] = []
    merged(folder, definition, explain=lines.append, **options)
    return [line for line in lines if line.startswith("warning: ")]


def task(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a definition with these containers, or with one."""
    given = [{"name": "app", "image": "app", **each} for each in containers or ({},)]
    return {"family": "app", "containerDefinitions": given, **more}


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


WHOLE: dict[str, Any] = {
    "taskDefinition": {
        "family": "app",
        "networkMode": "awsvpc",
        "taskRoleArn": "arn:aws:iam::123456789012:role/app",
        "cpu": "1 vCPU",
        "memory": "2048",
        "containerDefinitions": [
            {
                "name": "neuron-exporter",
                "image": "exporter:1",
                "essential": False,
                "mountPoints": [
                    {"sourceVolume": "spool", "containerPath": "/var/lib/neuron-exporter"}
                ],
            },
            {
                "name": "app",
                "image": "app",
                "essential": True,
                "cpu": 128,
                "memory": 512,
                "memoryReservation": 256,
                "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
                "environment": [{"name": "A", "value": "b"}],
                "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "/app", "mode": "non-blocking"},
                },
                "linuxParameters": {
                    "capabilities": {"add": ["IPC_LOCK"]},
                    "devices": [{"hostPath": "/dev/neuron0", "permissions": ["read"]}],
                },
            },
            {
                "name": "old",
                "essential": False,
                "linuxParameters": {"devices": [{"hostPath": "/dev/neuron0"}]},
            },
        ],
        "volumes": [
            {"name": "data", "host": {"sourcePath": "/data"}},
            {"name": "spool", "host": {"sourcePath": "/old"}},
        ],
        "placementConstraints": [{"type": "memberOf", "expression": "a == b"}],
        "requiresCompatibilities": ["EC2"],
        "revision": 3,
    }
}
"""A definition as ECS returns it, with everything that the generator reads."""


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document."""
    yield above
    items = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else items:
        yield from paths(each, (*above, key))


def planted(path: tuple[Any, ...], value: Any) -> Any:
    """Return the whole definition with another value at a path."""
    document = {"": deepcopy(WHOLE)}
    above: Any = document
    *keys, last = ("", *path)
    for key in keys:
        above = above[key]
    above[last] = value
    return document[""]


@pytest.mark.parametrize("value", [None, 7, True, "text", [], ["text"], [None], {}, {"key": "x"}])
def test_a_value_of_any_type_at_any_path_is_kept_or_an_error(tmp_path: Path, value: Any) -> None:
    for path in paths(WHOLE):
        try:
            merged(tmp_path, planted(path, value))
        except ConfigError as error:
            (problem,) = error.problems
            assert problem.startswith("--into: "), path


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (
            ("containerDefinitions", 1),
            "app",
            "containerDefinitions.1: must be an object (got 'app')",
        ),
        (
            ("containerDefinitions", 1, "logConfiguration"),
            ["awslogs"],
            "containerDefinitions.1.logConfiguration: must be an object (got a list)",
        ),
        (
            ("containerDefinitions", 1, "logConfiguration", "options", "awslogs-group"),
            5,
            "containerDefinitions.1.logConfiguration.options.awslogs-group: must be a text (got 5)",
        ),
        (
            ("containerDefinitions", 1, "linuxParameters", "devices", 0),
            "/dev/neuron0",
            "containerDefinitions.1.linuxParameters.devices.0: must be an object "
            "(got '/dev/neuron0')",
        ),
        (("volumes",), "data", "volumes: must be a list (got 'data')"),
        (
            ("containerDefinitions", 1, "cpu"),
            True,
            "containerDefinitions.1.cpu: must be a whole number (got True)",
        ),
        (("cpu",), "2 GB", """cpu: must be a text such as "1024" or "1 vCPU" (got '2 GB')"""),
        (("memory",), [], 'memory: must be a text such as "1024" or "1 GB" (got [])'),
        (
            ("requiresCompatibilities",),
            ["EC2", "FARGATE"],
            "requiresCompatibilities: must not have FARGATE: it has no devices (got 'FARGATE')",
        ),
        (
            ("networkMode",),
            "none",
            "networkMode: must not be none: the exporter could neither publish nor be scraped "
            "(got 'none')",
        ),
    ],
)
def test_the_error_names_the_place(
    tmp_path: Path, path: tuple[Any, ...], value: Any, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        merged(tmp_path, planted(("taskDefinition", *path), value))
    assert list(caught.value.problems) == [f"--into: {problem}"]


@pytest.mark.parametrize("log", [None, {}, {"options": None}, {"options": {"awslogs-group": None}}])
def test_without_a_log_group_the_exporter_has_its_own(tmp_path: Path, log: Any) -> None:
    own = task(volumes=None, placementConstraints=None)
    own["containerDefinitions"][0] |= {"logConfiguration": log, "linuxParameters": None}
    result = merged(tmp_path, own)
    options = exporter_of(result)["logConfiguration"]["options"]
    assert options["awslogs-group"] == "/ecs/neuron"
    assert [each["name"] for each in result["volumes"]] == ["spool"]


def test_it_is_for_sidecars_of_your_own_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--into: needs --with none and --launch sidecar"):
        merged(tmp_path, task(), workload="inference")


SPOOL = {"sourcePath": "/var/lib/neuron-exporter"}
MOUNTED = {"mountPoints": [{"sourceVolume": "spool", "containerPath": "/data"}]}


def mounted_volume(definition: dict[str, Any]) -> str:
    """Return the name of the volume of the exporter's spool."""
    (mount,) = exporter_of(definition)["mountPoints"]
    return str(mount["sourceVolume"])


def test_another_volume_of_the_same_name_keeps_it_however_often_it_is_added(tmp_path: Path) -> None:
    own = task(MOUNTED, volumes=[{"name": "spool", "host": {"sourcePath": "/data"}}])
    first = merged(tmp_path, own)
    assert first["volumes"] == [*own["volumes"], {"name": "neuron-exporter-spool", "host": SPOOL}]
    assert mounted_volume(first) == "neuron-exporter-spool"
    assert merged(tmp_path, first) == first


def test_a_third_volume_has_a_number(tmp_path: Path) -> None:
    own = task(volumes=[{"name": "spool"}, {"name": "neuron-exporter-spool"}])
    assert mounted_volume(merged(tmp_path, own)) == "neuron-exporter-spool-2"


def test_the_new_name_is_explained(tmp_path: Path) -> None:
    lines: list[str] = []
    merged(tmp_path, task(volumes=[{"name": "spool"}]), explain=lines.append)
    assert "the exporter's volume is neuron-exporter-spool: another one is named spool" in lines


def test_an_equal_volume_is_used(tmp_path: Path) -> None:
    """A client may write null for keys that a volume does not have."""
    volume = {"name": "spool", "host": SPOOL, "dockerVolumeConfiguration": None}
    result = merged(tmp_path, task(MOUNTED, volumes=[volume]))
    assert (result["volumes"], mounted_volume(result)) == ([volume], "spool")


def test_the_volumes_of_an_earlier_exporter_are_replaced(tmp_path: Path) -> None:
    earlier = merged(tmp_path, task(), tools="host")
    earlier["volumes"][0]["host"]["sourcePath"] = "/old"
    lines: list[str] = []
    result = merged(tmp_path, earlier, explain=lines.append)
    assert result["volumes"] == [{"name": "spool", "host": SPOOL}]
    removed = [line for line in lines if "removed" in line]
    assert removed == [
        f"volume {name} is removed: only the earlier exporter used it"
        for name in ("spool", "neuron-tools")
    ]
    merged(tmp_path, result, explain=lines.append)
    assert [line for line in lines if "removed" in line] == removed


def test_a_volume_that_others_mount_too_is_not_replaced(tmp_path: Path) -> None:
    earlier = merged(tmp_path, task(MOUNTED))
    earlier["volumes"][0]["host"]["sourcePath"] = "/old"
    assert [each["name"] for each in merged(tmp_path, earlier)["volumes"]] == [
        "spool",
        "neuron-exporter-spool",
    ]


REJECTED = "warning: ECS rejects the definition: "


@pytest.mark.parametrize("memory", [1024, "1024", "1 GB", "1GB", "1.0 gb"])
def test_a_task_whose_memory_is_too_small_is_explained_and_stays(
    tmp_path: Path, memory: Any
) -> None:
    own = task({"memory": 1024}, memory=memory)
    assert warnings(tmp_path, own) == [
        f"{REJECTED}memory: must be at least 1408 (MiB), since the exporter reserves 384 and the "
        f"other containers 1024 (got {memory!r})"
    ]
    assert merged(tmp_path, own)["memory"] == memory


@pytest.mark.parametrize("cpu", [256, "256", ".25 vCPU", "0.25vcpu"])
def test_a_task_with_too_few_cpu_units_is_explained(tmp_path: Path, cpu: Any) -> None:
    assert warnings(tmp_path, task({"cpu": 128}, {"name": "b", "cpu": 65}, cpu=cpu)) == [
        f"{REJECTED}cpu: must be at least 257 (CPU units), since the exporter reserves 64 and the "
        f"other containers 193 (got {cpu!r})"
    ]


@pytest.mark.parametrize(
    "definition",
    [
        task({"memory": 640, "cpu": 192}, memory="1024", cpu="256"),
        task({"memory": 2048, "memoryReservation": 512}, memory="1 GB"),
        task({"memory": None, "cpu": None}, memory="1 GB", cpu="1 vCPU"),
        task({"memory": 99999, "cpu": 99999}, memory=None),
    ],
)
def test_a_task_that_is_large_enough_has_no_warning(tmp_path: Path, definition: Any) -> None:
    """A container reserves `memoryReservation`, or `memory` without one."""
    assert warnings(tmp_path, definition) == []


def test_an_earlier_exporter_is_not_counted_twice(tmp_path: Path) -> None:
    earlier = merged(tmp_path, task({"memory": 640}, memory="1024"))
    assert warnings(tmp_path, earlier) == []


@pytest.mark.parametrize("network", ["host", "awsvpc"])
@pytest.mark.parametrize("mapping", [{"containerPort": 9415}, {"hostPort": 9415}])
def test_the_same_port_in_another_container_is_explained(
    tmp_path: Path, network: str, mapping: dict[str, Any]
) -> None:
    own = task({"portMappings": [{"containerPort": 80}, mapping]}, networkMode=network)
    assert warnings(tmp_path, own) == [
        f"{REJECTED}containerDefinitions.0.portMappings.1: must not have the exporter's port, "
        f"since the containers share their ports with networkMode {network} (got 9415)"
    ]


@pytest.mark.parametrize(
    ("network", "protocol"), [("bridge", "tcp"), (None, None), ("host", "udp")]
)
def test_a_port_that_does_not_conflict_has_no_warning(
    tmp_path: Path, network: str | None, protocol: str | None
) -> None:
    mapping = {"containerPort": 9415, "hostPort": 9415, "protocol": protocol}
    assert warnings(tmp_path, task({"portMappings": [mapping]}, networkMode=network)) == []


def test_more_entries_than_ecs_accepts_are_explained(tmp_path: Path) -> None:
    constraints = [{"type": "memberOf", "expression": f"a == {index}"} for index in range(10)]
    containers = [{"name": f"app-{index}"} for index in range(10)]
    assert warnings(tmp_path, task(*containers, placementConstraints=constraints)) == [
        f"{REJECTED}containerDefinitions: must have at most 10 entries with the exporter's "
        "(got 11)",
        f"{REJECTED}placementConstraints: must have at most 10 entries with the exporter's "
        "(got 11)",
    ]
    assert warnings(tmp_path, task(*containers[1:], placementConstraints=constraints[1:])) == []


def of_type(name: str, operator: str = " == ") -> dict[str, str]:
    """Return the placement constraint for an instance type."""
    return {"type": "memberOf", "expression": f"attribute:ecs.instance-type{operator}{name}"}


def test_the_constraint_of_an_earlier_exporter_is_replaced(tmp_path: Path) -> None:
    earlier = merged(tmp_path, task(), instance_type="inf1.xlarge")
    assert earlier["placementConstraints"] == [of_type("inf1.xlarge")]
    lines: list[str] = []
    result = merged(tmp_path, earlier, explain=lines.append)
    assert result["placementConstraints"] == [of_type("inf2.xlarge")]
    assert "placementConstraints.0 is removed: it was for inf1.xlarge" in lines
    assert warnings(tmp_path, earlier) == []


def test_a_constraint_of_the_user_that_excludes_the_type_is_explained(tmp_path: Path) -> None:
    own = task(placementConstraints=[of_type("inf1.xlarge")])
    assert warnings(tmp_path, own) == [
        "warning: no machine fits the task: placementConstraints.0.expression: must not exclude "
        "inf2.xlarge (got inf1.xlarge)"
    ]


def test_the_same_constraint_in_other_spacing_is_not_added_again(tmp_path: Path) -> None:
    own = task(placementConstraints=[of_type("inf2.xlarge", "==")])
    assert merged(tmp_path, own)["placementConstraints"] == own["placementConstraints"]


def test_no_key_is_kept_that_only_a_response_has(tmp_path: Path) -> None:
    model = get_session().get_service_model("ecs")
    returned = set(model.shape_for("TaskDefinition").members)
    accepted = set(model.shape_for("RegisterTaskDefinitionRequest").members)
    own = {"taskDefinition": {**dict.fromkeys(returned), **task()}}
    assert set(merged(tmp_path, own)) <= accepted
