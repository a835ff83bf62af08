"""Generate ECS task definitions for `aws ecs register-task-definition --cli-input-json`, or for
`register-daemon-task-definition`.

On EC2, a task cannot request Neuron devices from ECS: a definition maps the host's devices by name.
It is therefore made for one instance type, and has a placement constraint for that type.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from neuron_exporter import __version__
from neuron_exporter.config import ConfigError
from neuron_exporter.config.variables import variable_name
from neuron_exporter.facts.partitions import REGION_NAME
from neuron_exporter.generate.ecs import containers
from neuron_exporter.generate.ecs.containers import (
    IN_IMAGE,
    ON_HOST,
    SPOOL,
    DeploymentTarget,
    Node,
)
from neuron_exporter.generate.ecs.devices import ALL, find_type, format_devices, parse_devices
from neuron_exporter.generate.ecs.managed_daemon import as_managed, check_managed
from neuron_exporter.generate.ecs.merge import add_sidecar, read_definition
from neuron_exporter.generate.ecs.settings import (
    DAEMON,
    Explain,
    port_of,
    sidecar_settings,
    variables,
)
from neuron_exporter.generate.options import Configure

EXAMPLE_ACCOUNT = "123456789012"
"""The account of AWS's documentation."""

REGION = "us-east-1"

_MANAGED_DAEMON = "managed-daemon"
_DAEMONS = ("daemon", _MANAGED_DAEMON)

_ROLES = {"none": "neuron-exporter", "inference": "neuron-inference", "compile": "neuron-compile"}
_EXECUTION = "neuron-execution"

_PROCESS_LABELS = variable_name("identity.process_labels")


def task_definition(
    *,
    instance_type: str,
    workload: str,
    launch: str,
    devices: str | None = None,
    image: str | None = None,
    tools: str = IN_IMAGE,
    workload_image: str | None = None,
    command: str | None = None,
    memory_mib: int | None = None,
    account: str = EXAMPLE_ACCOUNT,
    region: str = REGION,
    configure: Configure | None = None,
    into: str | None = None,
    explain: Explain = lambda _: None,
) -> Node:
    """Return a task definition; for a sidecar without a workload, the parts to add to another one,
    or that other one with them.

    Args:
        workload: inference, compile or none.
        launch: sidecar, daemon, or managed-daemon for ECS Managed Daemons.
        devices: the devices of the task, such as 0-3.
        tools: where neuron-monitor is: in the image, or on the host.
        configure: loads the exporter's configuration, whose keys become variables; None is the
            configuration for this launch.
        into: file with a task definition to which a sidecar is added.
        explain: receives a line for each thing that the reader should know about the definition.

    Raises:
        ConfigError: an option is invalid, or conflicts with another one.
    """
    target = DeploymentTarget(account=account, region=region)
    images = {"--image": image, "--workload-image": workload_image}
    of_workload = {"--workload-image": workload_image, "--command": command, "--memory": memory_mib}
    _check_options(target, workload, launch, devices, images, of_workload)
    if (launch, tools) == (_MANAGED_DAEMON, ON_HOST):
        raise ConfigError([f"--tools: must be image with --launch {launch} (got {tools!r})"])
    if into is not None and (workload, launch) != ("none", "sidecar"):
        raise ConfigError([f"--into: needs --with none and --launch sidecar (got {into!r})"])
    row, count = find_type(instance_type)
    tag = __version__ if tools == IN_IMAGE else f"{__version__}-toolless"
    image = image or f"{account}.dkr.ecr.{region}.{target.partition.domain}/neuron-exporter:{tag}"
    constraint = {"type": "memberOf", "expression": f"attribute:ecs.instance-type == {row.name}"}
    common: Node = {
        # On the host, since a volume of the task would be deleted with it: if a task ends during an
        # outage, the next one sends its requests.
        "volumes": [{"name": "spool", "host": {"sourcePath": SPOOL}}],
        "placementConstraints": [constraint],
    }
    if tools == ON_HOST:
        common["volumes"].append(containers.TOOLS_VOLUME)
        explain(f"the machine must have AWS's tools in {containers.TOOLS}")
    type_name = row.name.replace(".", "-")
    if launch in _DAEMONS:
        if launch == _MANAGED_DAEMON:
            check_managed(row)
        sees_processes = launch != _MANAGED_DAEMON
        environment = variables(
            configure, DAEMON, explain, is_shared=False, sees_processes=sees_processes
        )
        port = 0 if launch == _MANAGED_DAEMON else port_of(environment)
        exporter = containers.exporter(
            image,
            target,
            range(count),
            environment,
            essential=True,
            port=port,
            host_port=port,
            tools=tools,
        )
        if _PROCESS_LABELS in environment and sees_processes:
            added = ["SYS_PTRACE", "DAC_READ_SEARCH"]
            explain(f"{' and '.join(added)} are added, for the processes of other users")
            exporter["linuxParameters"]["capabilities"]["add"] += added
        definition = {
            **_head(f"neuron-exporter-{type_name}", workload, target, network="host"),
            # The exporter finds the owner of a core by the cgroup of the process that uses it.
            "pidMode": "host",
            "containerDefinitions": [exporter],
            **common,
        }
        return as_managed(definition, row, explain) if launch == _MANAGED_DAEMON else definition
    indices = parse_devices(devices, row.name, count)
    is_shared = len(indices) < count
    settings = sidecar_settings(workload, is_shared=is_shared)
    environment = variables(configure, settings, explain, is_shared=is_shared)
    exporter = containers.exporter(
        image,
        target,
        indices,
        environment,
        essential=False,
        port=port_of(environment),
        host_port=0,
        tools=tools,
    )
    if workload == "none":
        part = {"containerDefinitions": [exporter], **common}
        if into is not None:
            return add_sidecar(read_definition(into), part, explain)
        explain(
            "add the container, the volume and the placement constraint to your task definition, "
            "by hand or with --into: they cannot be registered alone"
        )
        return part
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
        return f"arn:{target.partition.name}:iam::{target.account}:role/{name}-{target.region}"

    return {
        "family": family,
        "requiresCompatibilities": ["EC2"],
        "networkMode": network,
        "executionRoleArn": role(_EXECUTION),
        "taskRoleArn": role(_ROLES[workload]),
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
    if not REGION_NAME.fullmatch(target.region):
        problems.append(f'--region: must be a region such as "us-east-1" (got {target.region!r})')
    if launch in _DAEMONS:
        if workload != "none":
            problems.append(
                f"--with: must be none with --launch {launch}: a daemon is one task per machine, "
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
