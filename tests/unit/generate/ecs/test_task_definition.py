"""Task definitions: their content, and the options that are rejected."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from neuron_exporter.config import ConfigError, Override, load
from neuron_exporter.doctor.host import EXPORTER_NEED, NEURON_MONITOR_NEED
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.generate.ecs import containers
from neuron_exporter.generate.ecs.devices import format_devices, parse_devices
from neuron_exporter.generate.ecs.task_definition import task_definition
from neuron_exporter.generate.options import Configure
from tests.support.task_definitions import (
    EXAMPLES,
    committed,
    environment_of,
    exporter_of,
    make_definition,
)

SIDECARS = [name for name in EXAMPLES if name.endswith("sidecar")]
DAEMONS = [name for name in EXAMPLES if name.endswith("daemon")]


def workload_of(definition: dict[str, Any]) -> dict[str, Any]:
    """Return the container of the workload."""
    (found,) = [
        each for each in definition["containerDefinitions"] if each["name"] != "neuron-exporter"
    ]
    return dict(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_valid_for_botocore(name: str) -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    report = ParamValidator().validate(committed(name), shape)
    assert report.generate_report() == ""


@pytest.mark.parametrize("name", SIDECARS)
def test_sidecar_does_not_affect_the_workload(name: str) -> None:
    exporter, workload = exporter_of(committed(name)), workload_of(committed(name))
    assert (exporter["essential"], workload["essential"]) == (False, True)
    assert "dependsOn" not in workload
    assert exporter["restartPolicy"]["enabled"] is True
    assert "pidMode" not in committed(name)
    assert exporter["portMappings"] == [{"containerPort": 9415, "hostPort": 0, "protocol": "tcp"}]


@pytest.mark.parametrize("name", SIDECARS)
def test_sidecar_has_the_devices_of_the_workload(name: str) -> None:
    exporter, workload = exporter_of(committed(name)), workload_of(committed(name))
    devices = exporter["linuxParameters"]["devices"]
    assert devices == workload["linuxParameters"]["devices"]
    assert all(each["hostPath"] == each["containerPath"] for each in devices)
    assert all(each["permissions"] == ["read", "write"] for each in devices)


@pytest.mark.parametrize("name", DAEMONS)
def test_daemon_has_the_whole_machine(name: str) -> None:
    definition = committed(name)
    exporter = exporter_of(definition)
    instance_type = EXAMPLES[name].split()[0]
    row = INSTANCE_TYPES[instance_type]
    assert row.devices is not None
    assert [each["hostPath"] for each in exporter["linuxParameters"]["devices"]] == [
        f"/dev/neuron{index}" for index in range(row.devices)
    ]
    assert (definition["pidMode"], definition["networkMode"]) == ("host", "host")
    assert exporter["essential"] is True
    assert exporter["portMappings"] == [
        {"containerPort": 9415, "hostPort": 9415, "protocol": "tcp"}
    ]


def listening_on(*addresses: str) -> Configure:
    """Return a configuration of these addresses."""
    listen = Override("x", "prometheus.listen", list(addresses))
    return lambda flags: load(None, {}, [listen, *flags])


@pytest.mark.parametrize(("launch", "host_port"), [("daemon", 9500), ("sidecar", 0)])
def test_port_of_the_configuration_is_mapped(launch: str, host_port: int) -> None:
    definition = task_definition(
        instance_type="inf2.xlarge",
        workload="none",
        launch=launch,
        configure=listening_on("0.0.0.0:9500"),
    )
    exporter = exporter_of(definition)
    (mapping,) = exporter["portMappings"]
    assert (mapping["containerPort"], mapping["hostPort"]) == (9500, host_port)
    assert exporter["dockerLabels"]["ECS_PROMETHEUS_EXPORTER_PORT"] == "9500"


@pytest.mark.parametrize(
    ("addresses", "port"),
    [
        (["127.0.0.1:9415", "[::]:9500"], 9500),
        (["localhost:9415", "[::1]:9415", "10.0.0.1:9500"], 9500),
        (["0.0.0.0:0", "0.0.0.0:9500"], 9500),
        (["127.0.0.1:9415", "0.0.0.0:0"], 9415),
    ],
)
def test_reachable_port_is_mapped(addresses: list[str], port: int) -> None:
    definition = task_definition(
        instance_type="inf2.xlarge",
        workload="none",
        launch="daemon",
        configure=listening_on(*addresses),
    )
    assert exporter_of(definition)["portMappings"][0]["containerPort"] == port


def test_port_of_a_managed_daemon_is_not_mapped() -> None:
    definition = task_definition(
        instance_type="trn1.2xlarge",
        workload="none",
        launch="managed-daemon",
        configure=listening_on("127.0.0.1:0"),
    )
    assert "portMappings" not in exporter_of(definition)


def test_any_free_port_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"prometheus.listen: .* 0 \(got '0.0.0.0:0'\)"):
        task_definition(
            instance_type="inf2.xlarge",
            workload="none",
            launch="daemon",
            configure=listening_on("0.0.0.0:0"),
        )


@pytest.mark.parametrize("name", EXAMPLES)
def test_exporter_has_minimal_permissions(name: str) -> None:
    exporter = exporter_of(committed(name))
    assert exporter["linuxParameters"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert exporter["readonlyRootFilesystem"] is True
    assert "privileged" not in exporter
    written = [each["containerPath"] for each in exporter["mountPoints"]]
    written += [each["containerPath"] for each in exporter["linuxParameters"]["tmpfs"]]
    assert written == ["/var/lib/neuron-exporter", "/run/neuron-exporter"]
    path = environment_of(exporter)["NEURON_EXPORTER__CLOUDWATCH__SPOOL__PATH"]
    assert path.startswith("/var/lib/neuron-exporter/")


@pytest.mark.parametrize("name", EXAMPLES)
def test_placement_constraint(name: str) -> None:
    constraints = committed(name)["placementConstraints"]
    instance_type = EXAMPLES[name].split()[0]
    assert constraints == [
        {"type": "memberOf", "expression": f"attribute:ecs.instance-type == {instance_type}"}
    ]


def test_memory_for_neuron_monitor() -> None:
    """The measured exporter and GOMEMLIMIT leave an eighth of the limit."""
    child = 0.6 * containers.MEMORY_MIB
    assert 85 + child <= containers.MEMORY_MIB * 7 / 8
    assert containers.MEMORY_MIB * 2**20 >= EXPORTER_NEED + NEURON_MONITOR_NEED


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
def test_scope_and_dimension_sets(
    instance_type: str, workload: str, devices: str | None, scope: str, sets: str
) -> None:
    """A sidecar on a shared machine publishes its own series only."""
    exporter = exporter_of(make_definition(instance_type, workload, "sidecar", devices))
    environment = environment_of(exporter)
    assert environment["NEURON_EXPORTER__CLOUDWATCH__SCOPE"] == scope
    assert environment["NEURON_EXPORTER__CLOUDWATCH__DIMENSION_SETS"] == sets


def test_sidecar_without_workload() -> None:
    """It is a part for another definition, since every task needs an essential container."""
    part = make_definition("inf2.xlarge", "none", "sidecar")
    assert set(part) == {"containerDefinitions", "volumes", "placementConstraints"}
    (exporter,) = part["containerDefinitions"]
    assert exporter["essential"] is False


def test_options() -> None:
    definition = task_definition(
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
    exporter, workload = exporter_of(definition), workload_of(definition)
    assert (exporter["image"], workload["image"]) == ("exporter:1", "mine@sha256:0")
    assert [*workload["entryPoint"], *workload["command"]] == ["python3", "serve.py", "a b"]
    assert workload["memory"] == 4000
    role = "arn:aws:iam::000000000007:role/neuron-execution-eu-west-1"
    assert definition["executionRoleArn"] == role
    assert workload["logConfiguration"]["options"]["awslogs-region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [
        ("us-east-1", "aws", "amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
    ],
)
def test_roles_and_registry_are_in_the_partition_of_the_region(
    region: str, partition: str, domain: str
) -> None:
    definition = task_definition(
        instance_type="inf2.xlarge", workload="inference", launch="sidecar", region=region
    )
    arn = f"arn:{partition}:iam::123456789012:role/neuron"
    assert definition["executionRoleArn"] == f"{arn}-execution-{region}"
    assert definition["taskRoleArn"] == f"{arn}-inference-{region}"
    registry = f"123456789012.dkr.ecr.{region}.{domain}/"
    assert exporter_of(definition)["image"].startswith(registry)


@pytest.mark.parametrize(
    ("instance_type", "workload", "image"),
    [
        ("inf1.xlarge", "inference", "inference-neuron:1.13.1-neuron-py310-sdk2.20.2-ubuntu20.04"),
        ("inf1.xlarge", "compile", "inference-neuron:1.13.1-neuron-py310-sdk2.20.2-ubuntu20.04"),
        ("inf2.xlarge", "inference", "inference-neuronx:2.1.2-neuronx-py310-sdk2.20.0-ubuntu20.04"),
        ("trn1.2xlarge", "compile", "training-neuronx:2.1.2-neuronx-py310-sdk2.20.0-ubuntu20.04"),
        ("trn2.48xlarge", "compile", "training-neuronx:2.5.1-neuronx-py310-sdk2.22.0-ubuntu22.04"),
    ],
)
def test_default_image(instance_type: str, workload: str, image: str) -> None:
    definition = make_definition(instance_type, workload, "sidecar", "all")
    assert workload_of(definition)["image"] == f"public.ecr.aws/neuron/pytorch-{image}"


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
def test_parse_devices(text: str | None, count: int, indices: tuple[int, ...], name: str) -> None:
    assert parse_devices(text, "inf1.24xlarge", count) == indices
    assert format_devices(indices) == name


MALFORMED = "must be a number, a range, a list of these, or all, such as 0, 0-3 or 0,2"

INVALID_DEVICES = {
    None: "must be set, such as 0, 0-3 or all: inf1.24xlarge has 16 devices",
    "": f"{MALFORMED} (got '')",
    "0,": f"{MALFORMED} (got '0,')",
    "-1": f"{MALFORMED} (got '-1')",
    "0 1": f"{MALFORMED} (got '0 1')",
    "٣": f"{MALFORMED} (got '٣')",
    "all,0": f"{MALFORMED} (got 'all,0')",
    "16": "inf1.24xlarge has devices 0 to 15 (got '16')",
    "12-99": "inf1.24xlarge has devices 0 to 15 (got '12-99')",
    "3-1": "the range 3-1 ends before it begins (got '3-1')",
    "0-3,2,3": "must not repeat a device (2, 3) (got '0-3,2,3')",
}


@pytest.mark.parametrize("text", INVALID_DEVICES)
def test_invalid_devices(text: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_devices(text, "inf1.24xlarge", 16)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--devices: {INVALID_DEVICES[text]}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"instance_type": "inf1.xlrge"}, "--instance-type: unknown type; did you mean inf1.xlar"),
        ({"instance_type": "m5.large"}, "--instance-type: has no Neuron devices; "),
        (
            {"instance_type": "ml.trn1.2xlarge"},
            "--instance-type: unknown type; did you mean trn1.2xlarge",
        ),
        (
            {"instance_type": "INF2.xlarge"},
            "--instance-type: unknown type; did you mean inf2.xlarge",
        ),
        ({"instance_type": "inf2e.32xlarge"}, "--instance-type: the number of devices of inf2e."),
        ({"instance_type": "trn2n.48xlarge"}, "--instance-type: the number of devices of trn2n."),
        (
            {"launch": "daemon"},
            "--with: must be none with --launch daemon: a daemon is one task per machine, "
            "separate from the tasks of workloads (got 'inference')",
        ),
        (
            {"launch": "daemon", "workload": "none", "devices": "0"},
            "--devices: must be all for a daemon (got '0')",
        ),
        ({"devices": "1"}, "--devices: inf2.xlarge has only device 0 (got '1')"),
        (
            {"instance_type": "trn2.3xlarge"},
            "--memory: must be set (MiB), since the memory of trn2.3xlarge is not public",
        ),
        (
            {"workload": "none", "memory_mib": 100},
            "--memory: must not be set without a workload (got 100)",
        ),
        ({"account": "me"}, "--account: must be the 12 digits of an account (got 'me')"),
        ({"region": "Ohio"}, "--region: must be a region such as \"us-east-1\" (got 'Ohio')"),
        ({"image": "a b"}, "--image: must be the name of an image (got 'a b')"),
        (
            {"launch": "managed-daemon", "workload": "none", "tools": "host"},
            "--tools: must be image with --launch managed-daemon (got 'host')",
        ),
        ({"command": "'"}, '--command: No closing quotation (got "\'")'),
        ({"command": " "}, "--command: must have a program (got ' ')"),
    ],
)
def test_invalid_options(options: dict[str, Any], problem: str) -> None:
    defaults = {"instance_type": "inf2.xlarge", "workload": "inference", "launch": "sidecar"}
    with pytest.raises(ConfigError) as caught:
        task_definition(**{**defaults, **options})
    (found,) = caught.value.problems
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("workload", "launch"), [("none", "daemon"), ("none", "sidecar"), ("inference", "sidecar")]
)
def test_tools_of_the_host(workload: str, launch: str) -> None:
    """The image without AWS's tools gets the machine's, read-only; nothing else differs."""
    explained: list[str] = []
    options = {"instance_type": "inf2.xlarge", "workload": workload, "launch": launch}
    usual = task_definition(**options)
    definition = task_definition(**options, tools="host", explain=explained.append)
    assert explained[0] == "the machine must have AWS's tools in /opt/aws/neuron"
    (volume,) = [each for each in definition["volumes"] if each not in usual["volumes"]]
    assert volume["host"] == {"sourcePath": "/opt/aws/neuron"}
    exporter, other = exporter_of(definition), exporter_of(usual)
    mount = {"sourceVolume": volume["name"], "containerPath": volume["host"]["sourcePath"]}
    mounts = [*other["mountPoints"], {**mount, "readOnly": True}]
    assert exporter == {**other, "image": f"{other['image']}-toolless", "mountPoints": mounts}
