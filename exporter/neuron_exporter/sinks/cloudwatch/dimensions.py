"""Dimensions: what they show, their values, and what CloudWatch takes of them.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from neuron_exporter.model import Machine, Owner

MOST_DIMENSIONS = 30
LONGEST_NAME = 255
LONGEST_VALUE = 1024

FIELDS: Mapping[str, str] = {
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
"""Dimensions and the fields of the identity that they show."""

HOLDER: Mapping[str, str] = {
    "Namespace": "namespace",
    "PodName": "pod",
    "ContainerName": "container",
    "TaskDefinitionFamily": "task_family",
    "ServiceName": "service",
}
"""Dimensions of whoever holds a core, and the fields of the owner that they show. The exporter of a
whole machine runs beside the workloads: its own pod or task says nothing of theirs."""

ONE_MACHINE = frozenset({"InstanceId", "InstanceName", "NodeName", "PodName", "TaskId"})
"""Dimensions that tell the machines of a fleet apart: a set without them is shared by all."""

_NAMESPACE = re.compile(r"[A-Za-z0-9 ./#:_-]+")

Dimensions = tuple[tuple[str, str], ...]


class Problem(NamedTuple):
    """A setting that CloudWatch would not take: its key, what was given, what is allowed."""

    key: str
    given: object
    message: str


class Wanted(Protocol):
    """Dimension sets as they are configured; `holder` has the dimensions that show who holds a
    core, `extra_dimensions` those that are on every set, with their values."""

    @property
    def dimension_sets(self) -> Sequence[Sequence[str]]: ...
    @property
    def extra_dimensions(self) -> Mapping[str, str]: ...
    @property
    def holder(self) -> Mapping[str, str]: ...


class DimensionSet(NamedTuple):
    """A set whose values are known: those of the machine, and which dimensions of the holders
    are added to these. `names` is the set as it was configured."""

    names: tuple[str, ...]
    machine: Dimensions
    holder: tuple[str, ...] = ()

    def held_by(self, holder: Dimensions) -> Dimensions:
        """All dimensions, in the order of the configuration, extra ones last."""
        if not holder:
            return self.machine
        known = dict((*holder, *self.machine))
        return tuple((name, known[name]) for name in dict.fromkeys((*self.names, *known)))


def of_holder(
    names: Iterable[str], holder: Mapping[str, str], extra: Mapping[str, str]
) -> tuple[str, ...]:
    """The dimensions of a set that are the holder's."""
    return tuple(name for name in names if name in holder and name not in extra)


def resolve(
    names: Sequence[str],
    machine: Machine,
    extra: Mapping[str, str],
    holder: Mapping[str, str] = HOLDER,
) -> DimensionSet | None:
    """A dimension set's values; None while one of them is not known."""
    owned = of_holder(names, holder, extra)
    found = []
    for name in names:
        if name in owned:
            continue
        value = clean(extra[name]) if name in extra else value_of(machine, name)
        if not value:
            return None
        found.append((name, value))
    found += [(name, clean(value)) for name, value in extra.items() if name not in names]
    return DimensionSet(tuple(names), tuple(found), owned)


def value_of(machine: Machine, name: str) -> str:
    """What a dimension shows of the machine; empty where that is not known, or nothing legal."""
    return clean(getattr(machine, FIELDS[name]))


def holders_of(wanted: Wanted) -> list[tuple[str, ...]]:
    """By which dimensions of the holders the sets tell cores apart."""
    holder, extra = wanted.holder, wanted.extra_dimensions
    return sorted({of_holder(names, holder, extra) for names in wanted.dimension_sets})


def resolve_all(wanted: Wanted, machine: Machine) -> tuple[list[DimensionSet], list[str]]:
    """The sets whose values are known, and the dimensions that the others lack."""
    holder, extra = wanted.holder, wanted.extra_dimensions
    complete: list[DimensionSet] = []
    missing: list[str] = []
    for names in wanted.dimension_sets:
        known = resolve(names, machine, extra, holder)
        if known is not None:
            complete.append(known)
            continue
        asked = [name for name in names if name not in extra and name not in holder]
        missing += [name for name in asked if not value_of(machine, name)]
    return complete, list(dict.fromkeys(missing))


def dimensions_of(owner: Owner, names: Iterable[str]) -> Dimensions | None:
    """The dimensions of an owner; None where one of them is not known."""
    found = tuple((name, clean(getattr(owner, HOLDER[name]))) for name in names)
    return found if all(value for _, value in found) else None


def clean(value: str) -> str:
    """A dimension's value as CloudWatch takes it: ASCII without control characters."""
    ascii_only = value.encode("ascii", "replace").decode()
    return "".join(c for c in ascii_only if c.isprintable()).strip()[:LONGEST_VALUE]


def check(
    namespace: str, dimension_sets: Sequence[Sequence[str]], extra: Mapping[str, str]
) -> Iterable[Problem]:
    """Everything in these settings that CloudWatch would refuse."""
    if (
        not _NAMESPACE.fullmatch(namespace)
        or len(namespace) > LONGEST_NAME
        or namespace.startswith((":", "AWS/"))
        or not namespace.strip()
    ):
        yield Problem(
            "cloudwatch.namespace",
            namespace,
            "must be 1 to 255 of the characters A-Z a-z 0-9 . - _ / # : and space, and must not "
            "start with : or AWS/",
        )
    for name, value in extra.items():
        key = f"cloudwatch.extra_dimensions.{name}"
        if not name.isascii() or not name.isprintable() or not 1 <= len(name) <= LONGEST_NAME:
            yield Problem(key, name, "a dimension's name has 1 to 255 ASCII characters")
        if not name.strip() or name.startswith(":"):
            yield Problem(key, name, "a dimension's name must not be blank or start with :")
        if not value.strip() or clean(value) != value.strip():
            yield Problem(
                key, value, "a dimension's value has 1 to 1024 printable ASCII characters"
            )
    first_with: dict[frozenset[str], int] = {}
    for at, names in enumerate(dimension_sets):
        key = f"cloudwatch.dimension_sets.{at}"
        count = len({*names, *extra})
        if count > MOST_DIMENSIONS:
            yield Problem(
                key,
                count,
                f"a metric has at most {MOST_DIMENSIONS} dimensions, extra_dimensions included",
            )
        if len(set(names)) != len(names):
            yield Problem(key, list(names), "names a dimension twice")
        first = first_with.setdefault(frozenset({*names, *extra}), at)
        if first != at:
            yield Problem(
                key,
                list(names),
                "would count everything twice: with extra_dimensions it is the same set as "
                f"dimension_sets.{first}, {list(dimension_sets[first])}",
            )
