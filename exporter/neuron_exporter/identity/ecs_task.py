"""Identity from the ECS task metadata endpoint, version 4."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from neuron_exporter.identity.fields import LookupResult, parse_region, parse_text
from neuron_exporter.identity.local_http import RequestFailed, request_object
from neuron_exporter.model import Machine

FIELDS = frozenset(
    {"cluster", "service", "task_family", "task_id", "account", "region", "availability_zone"}
)


def endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the URL of the task metadata endpoint, or None outside an ECS task."""
    return environment.get("ECS_CONTAINER_METADATA_URI_V4", "").strip() or None


def lookup(base: str, missing: Set[str]) -> LookupResult:
    """Return all fields of the task, `missing` or not: one document contains them."""
    try:
        return LookupResult(parse_task(request_object(base, "/task")))
    except RequestFailed as error:
        return LookupResult(error=str(error))


def parse_task(task: Mapping[str, Any]) -> Machine:
    """Return the identity fields of a task metadata document."""
    arn = parse_text(task.get("TaskARN")).split(":", 5)
    is_task = len(arn) == 6 and arn[0] == "arn" and arn[2] == "ecs" and arn[5].startswith("task/")
    return Machine(
        # The cluster is an ARN on Fargate and a short name elsewhere.
        cluster=parse_text(task.get("Cluster")).rpartition("/")[2],
        service=parse_text(task.get("ServiceName")) or service_of_group(task.get("Group")),
        task_family=parse_text(task.get("Family")),
        task_id=arn[5].rpartition("/")[2] if is_task else "",
        account=arn[4] if is_task else "",
        region=parse_region(arn[3]) if is_task else "",
        availability_zone=parse_text(task.get("AvailabilityZone")),
    )


def service_of_group(group: object) -> str:
    """Return the service in a task's group ("service:NAME"), or "" if no service started it."""
    prefix, _, service = parse_text(group).partition(":")
    return service if prefix == "service" else ""
