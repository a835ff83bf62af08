"""What the ECS agent tells of the task that we run in, by the task metadata endpoint, version 4."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from neuron_exporter.identity.fields import Answer, region, text
from neuron_exporter.identity.local_http import NoAnswer, as_object, ask
from neuron_exporter.model import Machine

GIVES = frozenset(
    {
        "cluster",
        "service",
        "task_family",
        "task_id",
        "account",
        "region",
        "availability_zone",
    }
)

_SERVICE = "service:"


def endpoint(environment: Mapping[str, str]) -> str | None:
    """Where the agent answers; None where we are in no task of its."""
    return environment.get("ECS_CONTAINER_METADATA_URI_V4", "").strip() or None


def find(base: str, lacking: Set[str]) -> Answer:
    """What the agent knows; it is one document, whatever is lacking."""
    try:
        return Answer(from_task(as_object(ask(base, "/task"))))
    except NoAnswer as error:
        return Answer(why=str(error))


def from_task(task: Mapping[str, Any]) -> Machine:
    """The fields of a task's description."""
    arn = text(task.get("TaskARN")).split(":", 5)
    is_task = len(arn) == 6 and arn[0] == "arn" and arn[2] == "ecs" and arn[5].startswith("task/")
    group = text(task.get("Group"))
    return Machine(
        # An ARN on Fargate, a short name elsewhere.
        cluster=text(task.get("Cluster")).rpartition("/")[2],
        service=text(task.get("ServiceName"))
        or (group.removeprefix(_SERVICE) if group.startswith(_SERVICE) else ""),
        task_family=text(task.get("Family")),
        task_id=arn[5].rpartition("/")[2] if is_task else "",
        account=arn[4] if is_task else "",
        region=region(arn[3]) if is_task else "",
        availability_zone=text(task.get("AvailabilityZone")),
    )
