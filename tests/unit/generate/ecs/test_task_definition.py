"""Task definitions: what is in them, and what cannot be made."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.generate.ecs import containers as containers
from neuron_exporter.generate.ecs.devices import chosen, shown
from neuron_exporter.generate.ecs.task_definition import Asked, task_definition
from neuron_exporter.simulator.hardware import hardware
from tests.support.task_definitions import (
    EXAMPLES,
    committed,
    environment_of,
    exporter_of,
    made,
)

SIDECARS = [name for name in EXAMPLES if name.endswith("sidecar")]
DAEMONS = [name for name in EXAMPLES if name.endswith("daemon")]
WHOLE = [name for name, row in INSTANCE_TYPES.items() if row.devices and row.memory_gib]


def workload_of(definition: dict[str, Any]) -> dict[str, Any]:
    """The container that is not the exporter's."""
    (found,) = [
        each for each in definition["containerDefinitions"] if each["name"] != "neuron-exporter"
    ]
    return dict(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_botocores_model_takes_it(name: str) -> None:
    """Every key and every type is one of RegisterTaskDefinition's."""
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    report = ParamValidator().validate(committed(name), shape)
    assert report.generate_report() == ""


@pytest.mark.parametrize("name", SIDECARS)
def test_a_sidecar_is_no_burden(name: str) -> None:
    """The workload has no part in the exporter's fate: it does not wait for it, and outlives it. It
    alone ends the task."""
    ours, theirs = exporter_of(committed(name)), workload_of(committed(name))
    assert (ours["essential"], theirs["essential"]) == (False, True)
    assert "dependsOn" not in theirs
    assert ours["restartPolicy"]["enabled"] is True
    assert "pidMode" not in committed(name)
    assert ours["portMappings"] == [{"containerPort": 9415, "hostPort": 0, "protocol": "tcp"}]


@pytest.mark.parametrize("name", SIDECARS)
def test_a_sidecar_has_the_workloads_devices(name: str) -> None:
    """Exactly these, by the names that they have on the host, to read and to write."""
    ours, theirs = exporter_of(committed(name)), workload_of(committed(name))
    devices = ours["linuxParameters"]["devices"]
    assert devices == theirs["linuxParameters"]["devices"]
    assert all(each["hostPath"] == each["containerPath"] for each in devices)
    assert all(each["permissions"] == ["read", "write"] for each in devices)


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_has_the_machine(name: str) -> None:
    """All devices of the type, the host's processes, and the port that is the same everywhere."""
    definition = committed(name)
    ours = exporter_of(definition)
    instance_type = EXAMPLES[name].split()[0]
    row = INSTANCE_TYPES[instance_type]
    assert row.devices is not None
    assert [each["hostPath"] for each in ours["linuxParameters"]["devices"]] == [
        f"/dev/neuron{index}" for index in range(row.devices)
    ]
    assert (definition["pidMode"], definition["networkMode"]) == ("host", "host")
    assert ours["essential"] is True
    assert ours["portMappings"] == [{"containerPort": 9415, "hostPort": 9415, "protocol": "tcp"}]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_exporter_may_little(name: str) -> None:
    """Of root's powers it keeps the locking of memory; it writes to two places of its own."""
    ours = exporter_of(committed(name))
    assert ours["linuxParameters"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert ours["readonlyRootFilesystem"] is True
    assert "privileged" not in ours
    written = [each["containerPath"] for each in ours["mountPoints"]]
    written += [each["containerPath"] for each in ours["linuxParameters"]["tmpfs"]]
    assert written == ["/var/lib/neuron-exporter", "/run/neuron-exporter"]
    path = environment_of(ours)["NEURON_EXPORTER__CLOUDWATCH__SPOOL__PATH"]
    assert path.startswith("/var/lib/neuron-exporter/")


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_lands_on_the_machine_that_it_was_made_for(name: str) -> None:
    """Its devices are there."""
    constraints = committed(name)["placementConstraints"]
    instance_type = EXAMPLES[name].split()[0]
    assert constraints == [
        {"type": "memberOf", "expression": f"attribute:ecs.instance-type == {instance_type}"}
    ]


@pytest.mark.parametrize("instance_type", WHOLE)
def test_one_task_for_each_device_and_a_daemon_fit(instance_type: str) -> None:
    """A machine holds as many tasks as it has devices, a daemon, and half a GiB for the agent: of
    CPUs as of the memory that a kernel leaves."""
    row, machine = INSTANCE_TYPES[instance_type], hardware(instance_type)
    assert row.devices is not None
    daemon = exporter_of(made(instance_type, "none", "daemon"))
    tasks = [
        container
        for index in range(row.devices)
        for container in made(instance_type, "compile", "sidecar", str(index))[
            "containerDefinitions"
        ]
    ]
    memory = sum(each["memory"] for each in [*tasks, daemon])
    cpu = sum(each["cpu"] for each in [*tasks, daemon])
    assert memory + 512 <= machine.memory / 2**20 * 0.925
    assert cpu <= machine.vcpus * 1024
    assert memory >= 0.75 * machine.memory / 2**20, "most of the machine is the workloads'"


def test_there_is_memory_for_neuron_monitor() -> None:
    """What the exporter and supervisord were measured to take, with what the child's collector is
    told to keep to, leaves an eighth of the limit."""
    child = 0.6 * containers.MEMORY_MIB
    assert 85 + child <= containers.MEMORY_MIB * 7 / 8


@pytest.mark.parametrize(
    ("instance_type", "workload", "devices", "scope", "sets"),
    [
        ("inf1.24xlarge", "inference", "0", "task", "[[ClusterName, ServiceName]]"),
        ("inf1.24xlarge", "compile", "0-3", "task", "[[ClusterName, TaskDefinitionFamily]]"),
        ("inf1.24xlarge", "none", "5", "task", "[[ClusterName, TaskDefinitionFamily]]"),
        (
            "inf1.24xlarge",
            "inference",
            "all",
            "machine",
            "[[InstanceId, InstanceType], [ClusterName, ServiceName]]",
        ),
        (
            "trn1.2xlarge",
            "compile",
            None,
            "machine",
            "[[InstanceId, InstanceType], [ClusterName, TaskDefinitionFamily]]",
        ),
    ],
)
def test_what_is_sent_depends_on_who_else_is_there(
    instance_type: str, workload: str, devices: str | None, scope: str, sets: str
) -> None:
    """A sidecar with a part of the machine sends its task's series alone; the set of the service,
    or of the family where there is none, is always there."""
    ours = exporter_of(made(instance_type, workload, "sidecar", devices))
    told = environment_of(ours)
    assert told["NEURON_EXPORTER__CLOUDWATCH__SCOPE"] == scope
    assert told["NEURON_EXPORTER__CLOUDWATCH__DIMENSION_SETS"] == sets


def test_a_sidecar_alone_is_a_part_to_be_added() -> None:
    """A task needs an essential container, which an exporter beside a workload must not be: what is
    printed is its container, with the volume and the constraint that go with it."""
    part = made("inf2.xlarge", "none", "sidecar")
    assert set(part) == {"containerDefinitions", "volumes", "placementConstraints"}
    (ours,) = part["containerDefinitions"]
    assert ours["essential"] is False


def test_what_is_asked_for_is_in_it() -> None:
    """Images, command, memory, account and region are the user's."""
    definition = task_definition(
        Asked(
            instance_type="trn2.3xlarge",
            workload="inference",
            launch="sidecar",
            image="exporter:1",
            workload_image="mine@sha256:0",
            command="python3 serve.py 'a b'",
            memory_mib=4000,
            account="000000000007",
            region="eu-west-1",
        )
    )
    ours, theirs = exporter_of(definition), workload_of(definition)
    assert (ours["image"], theirs["image"]) == ("exporter:1", "mine@sha256:0")
    assert [*theirs["entryPoint"], *theirs["command"]] == ["python3", "serve.py", "a b"]
    assert theirs["memory"] == 4000
    role = "arn:aws:iam::000000000007:role/neuron-execution-eu-west-1"
    assert definition["executionRoleArn"] == role
    assert theirs["logConfiguration"]["options"]["awslogs-region"] == "eu-west-1"


# Devices


@pytest.mark.parametrize(
    ("text", "count", "indices", "name"),
    [
        (None, 1, (0,), "0"),
        ("all", 3, (0, 1, 2), "0-2"),
        ("0", 16, (0,), "0"),
        ("15", 16, (15,), "15"),
        ("0-3", 16, (0, 1, 2, 3), "0-3"),
        ("7,0,2-3", 16, (0, 2, 3, 7), "0_2-3_7"),
        ("4-4", 16, (4,), "4"),
    ],
)
def test_devices_can_be_named(
    text: str | None, count: int, indices: tuple[int, ...], name: str
) -> None:
    """Numbers, ranges and lists, in any order."""
    assert chosen(text, "inf1.24xlarge", count) == indices
    assert shown(indices) == name


BAD_DEVICES = {
    None: "must be given, since inf1.24xlarge has 16: one for each task, as in 0, or 0-3, 0,2 or",
    "": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got '')",
    "0,": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got '0,')",
    "-1": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got '-1')",
    "0 1": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got '0 1')",
    "٣": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got '٣')",
    "all,0": "must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2 (got 'all,0')",
    "16": "inf1.24xlarge has devices 0 to 15 (got '16')",
    "12-99": "inf1.24xlarge has devices 0 to 15 (got '12-99')",
    "3-1": "the range 3-1 ends before it begins (got '3-1')",
    "0-3,2,3": "must not name a device twice (2, 3) (got '0-3,2,3')",
}


@pytest.mark.parametrize("text", BAD_DEVICES)
def test_devices_that_cannot_be_are_refused(text: str | None) -> None:
    """One line says what there is."""
    with pytest.raises(ConfigError) as caught:
        chosen(text, "inf1.24xlarge", 16)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--devices: {BAD_DEVICES[text]}")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"instance_type": "inf1.xlrge"}, "--instance-type: unknown type; did you mean inf1.xlar"),
        ({"instance_type": "m5.large"}, "--instance-type: is no type with Neuron devices; "),
        ({"instance_type": "inf2e.32xlarge"}, "--instance-type: how many devices inf2e.32xlarge "),
        ({"instance_type": "trn2n.48xlarge"}, "--instance-type: how many devices trn2n.48xlarge "),
        (
            {"launch": "daemon"},
            "--with: must be none with --launch daemon: a daemon is one task for a machine, "
            "beside the tasks of workloads (got 'inference')",
        ),
        (
            {"launch": "daemon", "workload": "none", "devices": "0"},
            "--devices: a daemon has all devices of its machine (got '0')",
        ),
        ({"devices": "1"}, "--devices: inf2.xlarge has device 0 alone (got '1')"),
        (
            {"instance_type": "trn2.3xlarge"},
            "--memory: must be given (MiB): the memory of trn2.3xlarge is not public",
        ),
        (
            {"workload": "none", "memory_mib": 100},
            "--memory: is the workload's, and there is none (got 100)",
        ),
        ({"account": "me"}, "--account: must be the 12 digits of an account (got 'me')"),
        ({"region": "Ohio"}, "--region: must be a region such as \"us-east-1\" (got 'Ohio')"),
        ({"image": "a b"}, "--image: must be the name of an image (got 'a b')"),
        ({"command": "'"}, '--command: No closing quotation (got "\'")'),
        ({"command": " "}, "--command: must name a program (got ' ')"),
    ],
)
def test_what_cannot_be_made_is_refused(asked: dict[str, Any], problem: str) -> None:
    """One line says what is wrong, and what is allowed."""
    usual = {"instance_type": "inf2.xlarge", "workload": "inference", "launch": "sidecar"}
    with pytest.raises(ConfigError) as caught:
        task_definition(Asked(**{**usual, **asked}))
    (told,) = caught.value.problems
    assert told.startswith(problem)
