"""Builders of catalogue rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from neuron_exporter.model import (
    CloudWatchMetric,
    EntityKind,
    Layout,
    MetricKind,
    MetricSpec,
    Pooling,
    Preset,
    Unit,
)

ONLY_CLOUDWATCH: frozenset[Layout] = frozenset()
"""Layouts of a row that is not exposed to Prometheus."""

ONLY_AWS = frozenset({Layout.AWS})
"""Layouts of a row that replaces another one of its name with the series of AWS's script."""

ALL_LAYOUTS = frozenset(Layout)
"""Layouts of a row that AWS's script has with the same series."""

_POOLING = {
    EntityKind.CORE: Pooling.CORES,
    EntityKind.DEVICE: Pooling.DEVICES,
    EntityKind.RUNTIME: Pooling.RUNTIMES,
    EntityKind.MACHINE: Pooling.MACHINE,
}

_UNITS = {"ratio": Unit.RATIO, "bytes": Unit.BYTES, "seconds": Unit.SECONDS, "flops": Unit.FLOPS}

_CLOUDWATCH_UNITS = {
    Unit.NONE: ("Count", 1.0),
    Unit.RATIO: ("Percent", 100.0),
    Unit.BYTES: ("Bytes", 1.0),
    Unit.SECONDS: ("Seconds", 1.0),
    Unit.FLOPS: ("Count/Second", 1.0),
}
"""Unit in CloudWatch, and the factor that converts to it."""


def metric(
    name: str, preset: Preset = Preset.FULL, *, only: tuple[str, ...] = ()
) -> partial[CloudWatchMetric]:
    """Define a metric in CloudWatch; `row` adds its unit and pooling."""
    return partial(CloudWatchMetric, name=name, preset=preset, only=only)


def row(
    kind: MetricKind,
    name: str,
    help: str,
    column: str = "ones",
    *,
    entity_kind: EntityKind,
    start_column: str = "",
    unit: Unit | None = None,
    cloudwatch: Sequence[partial[CloudWatchMetric]] = (),
    pooling: Pooling | None = None,
    since: str = "1.x",
    **fields: Any,
) -> MetricSpec:
    """Build a row that reads a column of the table of its entities.

    The default unit is the one in which the name ends. Counters are pooled as deltas, and other
    kinds by entity unless `pooling` is set. A `since` of 1.x means that all supported versions of
    neuron-monitor have the metric. `fields` are the other fields of `MetricSpec`.
    """
    if kind is MetricKind.COUNTER:
        pooling = Pooling.DELTA
    if unit is None:
        unit = _UNITS.get(name.rpartition("_")[2], Unit.NONE)
    cloudwatch_unit, scale = _CLOUDWATCH_UNITS[unit]
    return MetricSpec(
        name=name,
        kind=kind,
        help=help,
        entity_kind=entity_kind,
        read=attrgetter(column),
        unit=unit,
        read_start=attrgetter(start_column) if start_column else None,
        cloudwatch=tuple(
            build(unit=cloudwatch_unit, scale=scale, pooling=pooling or _POOLING[entity_kind])
            for build in cloudwatch
        ),
        since=since,
        **fields,
    )


gauge = partial(row, MetricKind.GAUGE)
counter = partial(row, MetricKind.COUNTER)
info = partial(row, MetricKind.INFO)
distribution = partial(row, MetricKind.DISTRIBUTION, layouts=ONLY_CLOUDWATCH)
