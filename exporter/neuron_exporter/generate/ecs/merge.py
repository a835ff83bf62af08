"""Add the exporter to a task definition of the user."""

from __future__ import annotations

import json
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.ecs.containers import NAME, PORT, Node
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
)
"""Keys that ECS returns for a definition, and does not accept in one."""


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
    if not isinstance(containers, list) or not all(isinstance(each, dict) for each in containers):
        raise ConfigError([f"--into: must have containerDefinitions (got {path!r})"])
    others = [each for each in containers if each.get("name") != NAME]
    if not any(each.get("essential", True) for each in others):
        raise ConfigError(
            [f"--into: must have an essential container beside the exporter (got {path!r})"]
        )
    return {key: value for key, value in document.items() if key not in _OF_RESPONSES}


def add_sidecar(definition: Node, part: Node, explain: Explain) -> Node:
    """Return the definition with the exporter's container, volume and placement constraint. The
    container replaces an earlier one of the same name."""
    (exporter,) = part["containerDefinitions"]
    others = [each for each in definition["containerDefinitions"] if each.get("name") != NAME]
    (port,) = exporter["portMappings"]
    match definition.get("networkMode"):
        case "awsvpc":  # the task has an address of its own
            del port["hostPort"]
        case "host":
            port["hostPort"] = PORT
    groups = [
        group
        for each in others
        if (group := each.get("logConfiguration", {}).get("options", {}).get("awslogs-group"))
    ]
    if groups:
        exporter["logConfiguration"]["options"]["awslogs-group"] = groups[0]
    for each in others:
        if not each.get("essential", True) and _has_neuron_devices(each):
            explain(
                f"if {each.get('name')} is the sidecar that this one replaces, delete it from the "
                "file: it has Neuron devices and is not essential"
            )
    role = definition.get("taskRoleArn") or "the task role, which the definition does not have yet"
    explain(f"attach the policy ecs/policies/publish.json to {role}")
    merged = {**definition, "containerDefinitions": [*others, exporter]}
    for key in ("volumes", "placementConstraints"):
        present = definition.get(key) or []
        merged[key] = [*present, *(each for each in part[key] if each not in present)]
    return merged


def _has_neuron_devices(container: Node) -> bool:
    devices = container.get("linuxParameters", {}).get("devices") or ()
    return any(str(each.get("hostPath")).startswith("/dev/neuron") for each in devices)
