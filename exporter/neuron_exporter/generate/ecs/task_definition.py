"""Task definitions for ECS, as `aws ecs register-task-definition --cli-input-json` takes them.

ECS cannot be told on EC2 that a task needs Neuron devices: a definition maps the host's devices by
name, and is therefore made for one type of machine, to which a placement constraint leads it.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from neuron_exporter import __version__
from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs import containers as containers
from neuron_exporter.generate.ecs import devices as task_devices
from neuron_exporter.generate.ecs.containers import PORT, SPOOL, Place

NOBODY = "123456789012"
"""The account that AWS's documentation uses for nobody's."""

REGION = "us-east-1"

_ROLES = {"none": "neuron-exporter", "inference": "neuron-inference", "compile": "neuron-compile"}
_EXECUTION = "neuron-execution"

_MACHINE_SET = "[InstanceId, InstanceType]"
_GROUPS = {
    "inference": "[ClusterName, ServiceName]",
    "compile": "[ClusterName, TaskDefinitionFamily]",
    "none": "[ClusterName, TaskDefinitionFamily]",
}
"""The set that pools all tasks of a kind: it costs once, however many there are. A service has its
name; a task that was run by itself has its family alone, and so has one that is not known here."""

Node = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command was asked for. `workload` is inference, compile or none; `launch` is sidecar
    or daemon; `memory_mib` and `command` are the workload's."""

    instance_type: str
    workload: str
    launch: str
    devices: str | None = None
    image: str | None = None
    workload_image: str | None = None
    command: str | None = None
    memory_mib: int | None = None
    account: str = NOBODY
    region: str = REGION


def task_definition(asked: Asked) -> Node:
    """The definition; for a sidecar without a workload, what is to be added to another one.

    Raises:
        ConfigError: type, devices, or a combination of flags cannot be used.
    """
    _check(asked)
    row, count = task_devices.machine(asked.instance_type)
    place = Place(account=asked.account, region=asked.region)
    image = asked.image or (
        f"{place.account}.dkr.ecr.{place.region}.amazonaws.com/neuron-exporter:{__version__}"
    )
    constraint = {
        "type": "memberOf",
        "expression": f"attribute:ecs.instance-type == {row.name}",
    }
    around: Node = {
        # On the host, since a task's own volume would go with it: what an outage has left of a
        # task that ended is sent by the next one.
        "volumes": [{"name": "spool", "host": {"sourcePath": SPOOL}}],
        "placementConstraints": [constraint],
    }
    kind = row.name.replace(".", "-")
    if asked.launch == "daemon":
        indices = tuple(range(count))
        ours = containers.exporter(image, place, indices, _daemon(), essential=True, host_port=PORT)
        return {
            **_head(f"neuron-exporter-{kind}", asked, network="host"),
            # Whose a core is shows in the cgroup of the process that holds it.
            "pidMode": "host",
            "containerDefinitions": [ours],
            **around,
        }
    indices = task_devices.chosen(asked.devices, row.name, count)
    settings = _sidecar(asked.workload, shares=len(indices) < count)
    ours = containers.exporter(image, place, indices, settings, essential=False, host_port=0)
    if asked.workload == "none":
        return {"containerDefinitions": [ours], **around}
    theirs = containers.workload(
        asked.workload,
        row,
        place,
        indices,
        image=asked.workload_image,
        command=_words(asked.command),
        memory_mib=asked.memory_mib,
    )
    which = "" if len(indices) == count else f"-{task_devices.shown(indices)}"
    return {
        **_head(f"neuron-{asked.workload}-{kind}{which}", asked, network="bridge"),
        "containerDefinitions": [theirs, ours],
        **around,
    }


def as_json(definition: Node) -> str:
    """The definition for the aws command line."""
    return json.dumps(definition, indent=2) + "\n"


def _head(family: str, asked: Asked, *, network: str) -> Node:
    def role(name: str) -> str:
        return f"arn:aws:iam::{asked.account}:role/{name}-{asked.region}"

    return {
        "family": family,
        "requiresCompatibilities": ["EC2"],
        "networkMode": network,
        "executionRoleArn": role(_EXECUTION),
        "taskRoleArn": role(_ROLES[asked.workload]),
    }


def _sidecar(workload: str, *, shares: bool) -> dict[str, str]:
    """Settings beside one workload.

    On a machine that is shared only the task's own series are sent: each task would send the
    machine's once more.
    """
    group = _GROUPS[workload]
    return {
        "cloudwatch.enabled": "true",
        "cloudwatch.scope": "task" if shares else "machine",
        "cloudwatch.dimension_sets": f"[{group}]" if shares else f"[{_MACHINE_SET}, {group}]",
        "cloudwatch.spool.path": f"{SPOOL}/sidecar-{{task_id}}.db",
    }


def _daemon() -> dict[str, str]:
    """Settings of the one for a machine: those of `ecs/exporter-fleet.yaml`, which the alarms are
    made for. The spool is the machine's, whichever task of the daemon has it."""
    return {
        "cloudwatch.enabled": "true",
        "cloudwatch.dimension_sets": f"[{_MACHINE_SET}, [ClusterName]]",
        "cloudwatch.spool.path": f"{SPOOL}/daemon.db",
    }


# Checking


def _check(asked: Asked) -> None:
    problems = []
    if not re.fullmatch(r"[0-9]{12}", asked.account):
        problems.append(f"--account: must be the 12 digits of an account (got {asked.account!r})")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", asked.region):
        problems.append(f'--region: must be a region such as "us-east-1" (got {asked.region!r})')
    if asked.launch == "daemon":
        if asked.workload != "none":
            problems.append(
                "--with: must be none with --launch daemon: a daemon is one task for a machine, "
                f"beside the tasks of workloads (got {asked.workload!r})"
            )
        if asked.devices not in (None, task_devices.ALL):
            problems.append(
                f"--devices: a daemon has all devices of its machine (got {asked.devices!r})"
            )
    if asked.workload == "none":
        given = {
            "--workload-image": asked.workload_image,
            "--command": asked.command,
            "--memory": asked.memory_mib,
        }
        problems += [
            f"{flag}: is the workload's, and there is none (got {value!r})"
            for flag, value in given.items()
            if value is not None
        ]
    for flag, image in (("--image", asked.image), ("--workload-image", asked.workload_image)):
        if image is not None and not re.fullmatch(r"[A-Za-z0-9][\w./:@-]{0,254}", image, re.ASCII):
            problems.append(f"{flag}: must be the name of an image (got {image!r})")
    if problems:
        raise ConfigError(problems)


def _words(command: str | None) -> list[str] | None:
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError([f"--command: {error} (got {command!r})"]) from None
    if not words:
        raise ConfigError([f"--command: must name a program (got {command!r})"])
    return words
