"""Add the exporter to a task definition of the user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs.containers import NAME, SPOOL, TOOLS, Node
from neuron_exporter.generate.ecs.definition_values import get, items, wrong
from neuron_exporter.generate.ecs.rejections import rejections
from neuron_exporter.generate.ecs.settings import Explain

_OF_RESPONSES = (
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
)
"""Keys that ECS returns for a definition, and does not accept in one."""

_INSTANCE_TYPE = re.compile(r"\s*attribute:ecs\.instance-type\s*==\s*([\w.-]+)\s*", re.ASCII)
"""Expression of the placement constraint."""


def read_definition(path: str) -> Node:
    """Return the definition in a file, which may be the output of `describe-task-definition`.

    Raises:
        ConfigError: the file cannot be read, or is not a definition that the exporter fits into.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document: Any = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not JSON"
        raise ConfigError([f"--into: {reason} (got {path!r})"]) from None
    if isinstance(document, dict):
        document = document.get("taskDefinition", document)
    containers = document.get("containerDefinitions") if isinstance(document, dict) else None
    if not isinstance(containers, list):
        raise ConfigError([f"--into: must have containerDefinitions (got {path!r})"])
    essential = [
        get(each, "essential", bool, place) is not False for place, each in _others(document)
    ]
    if not any(essential):
        raise ConfigError(
            [f"--into: must have an essential container beside the exporter (got {path!r})"]
        )
    return {key: value for key, value in document.items() if key not in _OF_RESPONSES}


def add_sidecar(definition: Node, part: Node, explain: Explain) -> Node:
    """Return the definition with the exporter's container, volumes and placement constraint, which
    replace those of an earlier run. Explain what ECS would reject.

    Raises:
        ConfigError: a value of the definition has another type than ECS accepts, or the exporter
            cannot run in such a task.
    """
    (exporter,) = part["containerDefinitions"]
    others = dict(_others(definition))
    launch_types = get(definition, "requiresCompatibilities", list) or []
    if "FARGATE" in launch_types:
        raise wrong(
            "requiresCompatibilities", "must not have FARGATE: it has no devices", "FARGATE"
        )
    (port,) = exporter["portMappings"]
    match get(definition, "networkMode", str):
        case "awsvpc":  # the task has an address of its own
            del port["hostPort"]
        case "host":
            port["hostPort"] = port["containerPort"]
        case "none":
            message = "must not be none: the exporter could neither publish nor be scraped"
            raise wrong("networkMode", message, "none")
    groups = [group for place, each in others.items() if (group := _log_group(each, place))]
    if groups:
        exporter["logConfiguration"]["options"]["awslogs-group"] = groups[0]
    for place, each in others.items():
        has_devices = _has_neuron_devices(each, place)
        if has_devices and each.get("essential") is False:
            explain(
                f"if {each.get('name')} is the sidecar that this one replaces, delete it from the "
                "file: it has Neuron devices and is not essential"
            )
    merged = {
        **definition,
        "containerDefinitions": [*others.values(), exporter],
        "volumes": _with_volumes(definition, part["volumes"], exporter, explain),
        "placementConstraints": _with_constraint(definition, part["placementConstraints"], explain),
    }
    for line in rejections(merged, others, exporter):
        explain(f"warning: ECS rejects the definition: {line}")
    role = (
        get(definition, "taskRoleArn", str)
        or "the task role, which the definition does not have yet"
    )
    explain(f"attach the policy ecs/policies/publish.json to {role}")
    return merged


def _with_volumes(
    definition: Node, own: Sequence[Node], exporter: Node, explain: Explain
) -> list[Node]:
    """Return the volumes with the exporter's. One whose name another volume has gets a new name,
    in the exporter's mounts, too: ECS rejects two volumes of the same name."""
    earlier = set(_mounted(_exporters(definition), (SPOOL, TOOLS))) - set(
        _mounted(_others(definition))
    )
    volumes: list[Node] = []
    removed: list[Node] = []
    for place, each in items(definition, "volumes"):
        is_earlier = get(each, "name", str, place) in earlier
        (removed if is_earlier else volumes).append(each)
    for volume in own:
        prefixed = f"{NAME}-{volume['name']}"
        names = chain((volume["name"], prefixed), (f"{prefixed}-{index}" for index in count(2)))
        for name in names:
            named = {**volume, "name": name}
            present = [_without_null(each) for each in volumes if each.get("name") == name]
            if all(each == named for each in present):
                break
        if not present:
            volumes.append(named)
        if name != volume["name"]:
            explain(f"the exporter's volume is {name}: another one is named {volume['name']}")
        for mount in exporter["mountPoints"]:
            if mount["sourceVolume"] == volume["name"]:
                mount["sourceVolume"] = name
    kept = [_without_null(each) for each in volumes]
    for each in removed:
        if _without_null(each) not in kept:
            explain(f"volume {each['name']} is removed: only the earlier exporter used it")
    return volumes


def _mounted(containers: Iterator[tuple[str, Node]], paths: Sequence[str] = ()) -> Iterator[str]:
    """Yield the names of the volumes that are mounted at these paths, or anywhere."""
    for place, container in containers:
        for mount_place, mount in items(container, "mountPoints", place):
            name = get(mount, "sourceVolume", str, mount_place)
            path = get(mount, "containerPath", str, mount_place)
            if name is not None and (not paths or path in paths):
                yield name


def _without_null(node: Node) -> Node:
    return {key: value for key, value in node.items() if value is not None}


def _with_constraint(definition: Node, own: Sequence[Node], explain: Explain) -> list[Node]:
    """Return the placement constraints with the exporter's. One for another instance type is of
    an earlier run, if the definition has an exporter; otherwise it is the user's, and stays."""
    (constraint,) = own
    wanted = _instance_type(constraint, "")
    has_exporter = any(_exporters(definition))
    constraints = []
    is_present = False
    for place, each in items(definition, "placementConstraints"):
        found = _instance_type(each, place)
        is_present |= found == wanted
        if found not in (None, wanted):
            if has_exporter:
                explain(f"{place} is removed: it was for {found}")
                continue
            explain(
                f"warning: no machine fits the task: {place}.expression: must not exclude {wanted} "
                f"(got {found})"
            )
        constraints.append(each)
    return constraints if is_present else [*constraints, constraint]


def _instance_type(constraint: Node, place: str) -> str | None:
    match = _INSTANCE_TYPE.fullmatch(get(constraint, "expression", str, place) or "")
    return match[1] if match else None


def _exporters(definition: Node) -> Iterator[tuple[str, Node]]:
    """Yield the exporter's container of an earlier run, after its place."""
    for place, each in items(definition, "containerDefinitions"):
        if each.get("name") == NAME:
            yield place, each


def _others(definition: Node) -> Iterator[tuple[str, Node]]:
    """Yield the containers except an exporter's, each after its place."""
    for place, each in items(definition, "containerDefinitions"):
        if get(each, "name", str, place) != NAME:
            yield place, each


def _log_group(container: Node, place: str) -> str | None:
    log = get(container, "logConfiguration", dict, place) or {}
    options = get(log, "options", dict, f"{place}.logConfiguration") or {}
    return get(options, "awslogs-group", str, f"{place}.logConfiguration.options")


def _has_neuron_devices(container: Node, place: str) -> bool:
    parameters = get(container, "linuxParameters", dict, place) or {}
    devices = items(parameters, "devices", f"{place}.linuxParameters")
    paths = [get(each, "hostPath", str, device) or "" for device, each in devices]
    return any(path.startswith("/dev/neuron") for path in paths)
