"""CloudWatch dimensions: the fields that they show, their values, and their limits.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from neuron_exporter.model import Machine, Owner
from neuron_exporter.validation import SettingProblem

MAX_DIMENSIONS = 30
MAX_NAME_LENGTH = 255
MAX_VALUE_LENGTH = 1024

MACHINE_DIMENSIONS: Mapping[str, str] = {
    "InstanceId": "instance_id",
    "InstanceType": "instance_type",
    "InstanceName": "instance_name",
    "AvailabilityZone": "availability_zone",
    "Region": "region",
    "SubnetId": "subnet_id",
    "UltraServerId": "ultraserver_id",
    "ClusterName": "cluster",
    "AutoScalingGroupName": "auto_scaling_group",
    "AccountId": "account",
    "ServiceName": "service",
    "TaskDefinitionFamily": "task_family",
    "TaskId": "task_id",
    "NodeName": "node_name",
    "PodName": "pod_name",
    "Namespace": "pod_namespace",
}
"""Dimensions, each with the field of the machine's identity that it shows."""

OWNER_DIMENSIONS: Mapping[str, str] = {
    "Namespace": "namespace",
    "PodName": "pod",
    "ContainerName": "container",
    "TaskDefinitionFamily": "task_family",
    "ServiceName": "service",
}
"""Dimensions that identify the owner of a core, each with the field of the owner that it shows. In
`scope: machine` they replace the machine's: the exporter's own pod or task is not the owner."""

ONE_MACHINE = frozenset({"InstanceId", "InstanceName", "NodeName", "PodName", "TaskId"})
"""Dimensions that distinguish the machines of a fleet. All machines share a set without them."""

_NAMESPACE = re.compile(r"[A-Za-z0-9 ./#:_-]+")

Dimensions = tuple[tuple[str, str], ...]


class DimensionSet(NamedTuple):
    """A dimension set whose machine values are known.

    `names` are the dimensions as configured, `machine` those of the machine with their values, and
    `owner` the names of those that show the owner.
    """

    names: tuple[str, ...]
    machine: Dimensions
    owner: tuple[str, ...] = ()

    def with_owner(self, owner: Dimensions) -> Dimensions:
        """Return all dimensions in the configured order, extra dimensions last."""
        if not owner:
            return self.machine
        values = dict((*owner, *self.machine))
        return tuple((name, values[name]) for name in dict.fromkeys((*self.names, *values)))


def owner_dimensions_in(
    names: Iterable[str], owner_dimensions: Collection[str], extra: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the dimensions of a set that show the owner."""
    return tuple(name for name in names if name in owner_dimensions and name not in extra)


def resolve(
    names: Sequence[str],
    machine: Machine,
    extra: Mapping[str, str],
    owner_dimensions: Collection[str] = OWNER_DIMENSIONS,
) -> DimensionSet | None:
    """Return a dimension set with its values; None if a value of the machine is unknown."""
    of_owner = owner_dimensions_in(names, owner_dimensions, extra)
    values = {}
    for name in (*names, *extra):
        if name in of_owner:
            continue
        raw = extra[name] if name in extra else getattr(machine, MACHINE_DIMENSIONS[name])
        values[name] = sanitize_dimension_value(raw)
        if not values[name] and name in names:
            return None
    return DimensionSet(tuple(names), tuple(values.items()), of_owner)


def machine_value(machine: Machine, name: str) -> str:
    """Return a dimension's value for the machine; empty if unknown or without a legal character."""
    return sanitize_dimension_value(getattr(machine, MACHINE_DIMENSIONS[name]))


def owner_values(owner: Owner, names: Iterable[str]) -> Dimensions | None:
    """Return these dimensions of an owner; None if one of them is unknown.

    A dimension that is no field of the owner is a label of its process.
    """
    values = {**dict(owner.process_labels), **_fields(owner)}
    found = tuple((name, sanitize_dimension_value(values.get(name, ""))) for name in names)
    return found if all(value for _, value in found) else None


def _fields(owner: Owner) -> dict[str, str]:
    return {name: getattr(owner, field) for name, field in OWNER_DIMENSIONS.items()}


def sanitize_dimension_value(value: str) -> str:
    """Return a legal dimension value: ASCII without control characters, of limited length."""
    ascii_only = value.encode("ascii", "replace").decode()
    return "".join(c for c in ascii_only if c.isprintable()).strip()[:MAX_VALUE_LENGTH]


def check(
    namespace: str, dimension_sets: Sequence[Sequence[str]], extra: Mapping[str, str]
) -> Iterable[SettingProblem]:
    """Yield every setting that CloudWatch would reject."""
    if (
        not _NAMESPACE.fullmatch(namespace)
        or len(namespace) > MAX_NAME_LENGTH
        or namespace.startswith((":", "AWS/"))
        or not namespace.strip()
    ):
        message = (
            f"must be 1 to {MAX_NAME_LENGTH} of the characters A-Z a-z 0-9 . - _ / # : and space, "
            "and must not start with : or AWS/"
        )
        yield SettingProblem("cloudwatch.namespace", namespace, message)
    for name, value in extra.items():
        key = f"cloudwatch.extra_dimensions.{name}"
        if not name.isascii() or not name.isprintable() or not 1 <= len(name) <= MAX_NAME_LENGTH:
            message = f"the name must be 1 to {MAX_NAME_LENGTH} printable ASCII characters"
            yield SettingProblem(key, name, message)
        if not name.strip() or name.startswith(":"):
            yield SettingProblem(key, name, "the name must not be blank or start with :")
        if not value.strip() or sanitize_dimension_value(value) != value.strip():
            yield SettingProblem(
                key, value, f"must be 1 to {MAX_VALUE_LENGTH} printable ASCII characters"
            )
    first_with: dict[frozenset[str], int] = {}
    for index, names in enumerate(dimension_sets):
        key = f"cloudwatch.dimension_sets.{index}"
        count = len({*names, *extra})
        if count > MAX_DIMENSIONS:
            message = f"must have at most {MAX_DIMENSIONS} dimensions, extra_dimensions included"
            yield SettingProblem(key, count, message)
        if len(set(names)) != len(names):
            yield SettingProblem(key, list(names), "must not name a dimension twice")
        first = first_with.setdefault(frozenset({*names, *extra}), index)
        if first != index:
            message = (
                "would count everything twice: with extra_dimensions it is the same set as "
                f"dimension_sets.{first}, {list(dimension_sets[first])}"
            )
            yield SettingProblem(key, list(names), message)
