"""Generate ECS task definitions for `aws ecs register-task-definition --cli-input-json`.

On EC2, a task cannot request Neuron devices from ECS: a definition maps the host's devices by name.
It is therefore made for one instance type, and has a placement constraint for that type.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from neuron_exporter import __version__
from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs import containers
from neuron_exporter.generate.ecs.containers import PORT, SPOOL, DeploymentTarget
from neuron_exporter.generate.ecs.devices import ALL, find_type, format_devices, parse_devices

EXAMPLE_ACCOUNT = "123456789012"
"""The account of AWS's documentation."""

REGION = "us-east-1"

_ROLES = {"none": "neuron-exporter", "inference": "neuron-inference", "compile": "neuron-compile"}
_EXECUTION = "neuron-execution"

_MACHINE_SET = "[InstanceId, InstanceType]"
_SHARED_SETS = {
    "inference": "[ClusterName, ServiceName]",
    "compile": "[ClusterName, TaskDefinitionFamily]",
    "none": "[ClusterName, TaskDefinitionFamily]",
}
"""The set that all tasks of a kind share, so that it costs once. A task of a service has the name
of the service; one run by itself, or of an unknown kind, has only its family."""

_DAEMON_SETTINGS = {
    "cloudwatch.enabled": "true",
    "cloudwatch.dimension_sets": f"[{_MACHINE_SET}, [ClusterName]]",
    "cloudwatch.spool.path": f"{SPOOL}/daemon.db",
}
"""Those of `ecs/exporter-fleet.yaml`, which the alarms are made for. All tasks of the daemon on a
machine use the same spool."""

Node = dict[str, Any]


def task_definition(
    *,
    instance_type: str,
    workload: str,
    launch: str,
    devices: str | None = None,
    image: str | None = None,
    workload_image: str | None = None,
    command: str | None = None,
    memory_mib: int | None = None,
    account: str = EXAMPLE_ACCOUNT,
    region: str = REGION,
) -> Node:
    """Return a task definition; for a sidecar without a workload, the parts to add to another one.

    Args:
        workload: inference, compile or none.
        launch: sidecar or daemon.
        devices: the devices of the task, such as 0-3.

    Raises:
        ConfigError: an option is invalid, or conflicts with another one.
    """
    target = DeploymentTarget(account=account, region=region)
    images = {"--image": image, "--workload-image": workload_image}
    of_workload = {"--workload-image": workload_image, "--command": command, "--memory": memory_mib}
    _check_options(target, workload, launch, devices, images, of_workload)
    row, count = find_type(instance_type)
    image = image or f"{account}.dkr.ecr.{region}.amazonaws.com/neuron-exporter:{__version__}"
    constraint = {"type": "memberOf", "expression": f"attribute:ecs.instance-type == {row.name}"}
    common: Node = {
        # On the host, since a volume of the task would be deleted with it: if a task ends during an
        # outage, the next one sends its requests.
        "volumes": [{"name": "spool", "host": {"sourcePath": SPOOL}}],
        "placementConstraints": [constraint],
    }
    type_name = row.name.replace(".", "-")
    if launch == "daemon":
        exporter = containers.exporter(
            image, target, range(count), _DAEMON_SETTINGS, essential=True, host_port=PORT
        )
        return {
            **_head(f"neuron-exporter-{type_name}", workload, target, network="host"),
            # The exporter finds the owner of a core by the cgroup of the process that uses it.
            "pidMode": "host",
            "containerDefinitions": [exporter],
            **common,
        }
    indices = parse_devices(devices, row.name, count)
    settings = _sidecar_settings(workload, is_shared=len(indices) < count)
    exporter = containers.exporter(image, target, indices, settings, essential=False, host_port=0)
    if workload == "none":
        return {"containerDefinitions": [exporter], **common}
    words = _split(command)
    container = containers.workload(
        workload, row, target, indices, image=workload_image, command=words, memory_mib=memory_mib
    )
    suffix = "" if len(indices) == count else f"-{format_devices(indices)}"
    return {
        **_head(f"neuron-{workload}-{type_name}{suffix}", workload, target, network="bridge"),
        "containerDefinitions": [container, exporter],
        **common,
    }


def _head(family: str, workload: str, target: DeploymentTarget, *, network: str) -> Node:
    def role(name: str) -> str:
        return f"arn:aws:iam::{target.account}:role/{name}-{target.region}"

    return {
        "family": family,
        "requiresCompatibilities": ["EC2"],
        "networkMode": network,
        "executionRoleArn": role(_EXECUTION),
        "taskRoleArn": role(_ROLES[workload]),
    }


def _sidecar_settings(workload: str, *, is_shared: bool) -> dict[str, str]:
    """Return the settings of a sidecar. On a shared machine it publishes only the series of its
    task: otherwise each task would publish those of the machine again."""
    sets = [_SHARED_SETS[workload]] if is_shared else [_MACHINE_SET, _SHARED_SETS[workload]]
    return {
        "cloudwatch.enabled": "true",
        "cloudwatch.scope": "task" if is_shared else "machine",
        "cloudwatch.dimension_sets": f"[{', '.join(sets)}]",
        "cloudwatch.spool.path": f"{SPOOL}/sidecar-{{task_id}}.db",
    }


def _check_options(
    target: DeploymentTarget,
    workload: str,
    launch: str,
    devices: str | None,
    images: Mapping[str, str | None],
    of_workload: Mapping[str, object],
) -> None:
    problems = []
    if not re.fullmatch(r"[0-9]{12}", target.account):
        problems.append(f"--account: must be the 12 digits of an account (got {target.account!r})")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", target.region):
        problems.append(f'--region: must be a region such as "us-east-1" (got {target.region!r})')
    if launch == "daemon":
        if workload != "none":
            problems.append(
                "--with: must be none with --launch daemon: a daemon is one task per machine, "
                f"separate from the tasks of workloads (got {workload!r})"
            )
        if devices not in (None, ALL):
            problems.append(f"--devices: must be all for a daemon (got {devices!r})")
    if workload == "none":
        problems += [
            f"{flag}: must not be set without a workload (got {value!r})"
            for flag, value in of_workload.items()
            if value is not None
        ]
    for flag, image in images.items():
        if image is not None and not re.fullmatch(r"[A-Za-z0-9][\w./:@-]{0,254}", image, re.ASCII):
            problems.append(f"{flag}: must be the name of an image (got {image!r})")
    if problems:
        raise ConfigError(problems)


def _split(command: str | None) -> list[str] | None:
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError([f"--command: {error} (got {command!r})"]) from None
    if not words:
        raise ConfigError([f"--command: must have a program (got {command!r})"])
    return words
