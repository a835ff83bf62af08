"""Which metrics exist in CloudWatch: their names, their dimensions, and the limits on both.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from exporter.model import (
    CloudWatchMetric,
    Kind,
    Machine,
    MetricSpec,
    Pooling,
    Selection,
    Series,
    Shape,
)

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

_NAMESPACE = re.compile(r"[A-Za-z0-9 ./#:_-]+")

Dimensions = tuple[tuple[str, str], ...]


class Problem(NamedTuple):
    """A setting that CloudWatch would not take: its key, what was given, what is allowed."""

    key: str
    given: object
    message: str


class Gauge(NamedTuple):
    """A metric that gets one value a reading, or one distribution, from each of its series."""

    metric: CloudWatchMetric
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


class Delta(NamedTuple):
    """A metric that gets the rise of its counters, which are given by their places in
    `Plan.counters`."""

    metric: CloudWatchMetric
    places: tuple[int, ...]


class Plan:
    """One shape as CloudWatch sees it."""

    def __init__(self, shape: Shape, selection: Selection) -> None:
        self.shape = shape
        self.gauges: list[Gauge] = []
        self.distributions: list[Gauge] = []
        self.deltas: list[Delta] = []
        by_row: dict[MetricSpec, list[int]] = {}
        for index, series in enumerate(shape):
            by_row.setdefault(series.spec, []).append(index)
        places: dict[int, int] = {}
        for row in selection.rows:
            for metric in row.cloudwatch:
                indices = [i for i in by_row.get(row, ()) if _feeds(shape[i], metric)]
                if metric.name not in selection.names or not indices:
                    continue
                if metric.pooling is Pooling.DELTA:
                    own = tuple(places.setdefault(index, len(places)) for index in indices)
                    self.deltas.append(Delta(metric, own))
                elif row.kind is Kind.DISTRIBUTION:
                    self.distributions.append(Gauge(metric, _picker(indices)))
                else:
                    self.gauges.append(Gauge(metric, _picker(indices)))
        self.counters = tuple(places)
        """Indices of all series whose rise is wanted, each once."""


def _picker(indices: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes the values at these indices, as a tuple also when there is only one."""
    if len(indices) == 1:
        return itemgetter(slice(indices[0], indices[0] + 1))
    return itemgetter(*indices)


def _feeds(series: Series, metric: CloudWatchMetric) -> bool:
    if metric.only:
        return series.by in metric.only
    return series.by not in metric.all_but


def resolve(names: Sequence[str], machine: Machine, extra: Mapping[str, str]) -> Dimensions | None:
    """A dimension set's values; None while one of them is not known."""
    found = []
    for name in names:
        value = clean(extra[name] if name in extra else getattr(machine, FIELDS[name]))
        if not value:
            return None
        found.append((name, value))
    found += [(name, clean(value)) for name, value in extra.items() if name not in names]
    return tuple(found)


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
