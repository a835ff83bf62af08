"""Short ways to write the rows of the catalogue."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from neuron_exporter.model import (
    CloudWatchMetric,
    Group,
    Kind,
    Labels,
    Layout,
    MetricSpec,
    Place,
    Pooling,
    Preset,
    Unit,
)

ONLY_CLOUDWATCH: frozenset[Layout] = frozenset()
"""The layouts of a row that Prometheus is not shown."""

ONLY_AWS = frozenset({Layout.AWS})
"""Of a row that stands for another one of the same name where AWS's own series are wanted."""

BOTH = frozenset(Layout)
"""Of a row that AWS's script has, too, with the same series."""


def row(
    kind: Kind,
    name: str,
    help: str,
    *,
    place: Place,
    group: Group | None,
    also: frozenset[Group] = frozenset(),
    reads: str = "one",
    by: str = "",
    starts: str = "",
    unit: Unit = Unit.NONE,
    labels: Labels = (),
    layouts: frozenset[Layout] = frozenset({Layout.CORE}),
    preset: Preset = Preset.FULL,
    sends: tuple[CloudWatchMetric, ...] = (),
    per_owner: MetricSpec | None = None,
    since: str = "1.x",
) -> MetricSpec:
    """A row that reads one column, or one group of columns, of its place's table.

    `since` is the SDK whose neuron-monitor first had it; 1.x is older than anything that is read
    here.
    """
    return MetricSpec(
        name=name,
        kind=kind,
        help=help,
        place=place,
        read=attrgetter(reads),
        group=group,
        also=also,
        unit=unit,
        by=by,
        constant_labels=labels,
        start=attrgetter(starts) if starts else None,
        layouts=layouts,
        preset=preset,
        cloudwatch=sends,
        per_owner=per_owner,
        since=since,
    )


gauge = partial(row, Kind.GAUGE)
counter = partial(row, Kind.COUNTER)
info = partial(row, Kind.INFO)
distribution = partial(row, Kind.DISTRIBUTION, layouts=ONLY_CLOUDWATCH)


def send(
    name: str,
    unit: str,
    pooling: Pooling,
    preset: Preset = Preset.FULL,
    scale: float = 1.0,
    only: tuple[str, ...] = (),
    all_but: tuple[str, ...] = (),
) -> CloudWatchMetric:
    """A metric in CloudWatch; `only` and `all_but` are values of the row's `by` label."""
    return CloudWatchMetric(
        name=name,
        unit=unit,
        pooling=pooling,
        preset=preset,
        scale=scale,
        only=only,
        all_but=all_but,
    )


def rise(
    name: str,
    preset: Preset = Preset.FULL,
    only: tuple[str, ...] = (),
    all_but: tuple[str, ...] = (),
) -> CloudWatchMetric:
    """The rise of counters in an interval, in CloudWatch."""
    return send(name, "Count", Pooling.DELTA, preset, only=only, all_but=all_but)
