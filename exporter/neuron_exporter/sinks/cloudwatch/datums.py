"""From a window to the datums of PutMetricData, and from datums to requests of legal size.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from neuron_exporter.model import CloudWatchMetric, Pooling, Selection
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet
from neuron_exporter.sinks.cloudwatch.pooling import Key
from neuron_exporter.sinks.cloudwatch.window import Window

MOST_VALUES = 150
MOST_DATUMS = 1000
MOST_BYTES = 999_000  # of the 1,000,000 that are allowed: the envelope needs some
LONGEST_PAST = 14 * 86400.0
LONGEST_AHEAD = 2 * 3600.0

Datum = dict[str, Any]


class Measured(NamedTuple):
    """What a window holds of one metric under one set of dimensions, which is what CloudWatch
    bills: `names` is the dimension set as it was configured, `parts` are the values."""

    names: tuple[str, ...]
    metric: CloudWatchMetric
    dimensions: Dimensions
    parts: list[dict[str, Any]]


def measure(
    window: Window, selection: Selection, dimension_sets: Iterable[DimensionSet]
) -> list[Measured]:
    """All that a window gathered and is selected, set by set in the order of the catalogue; the
    heartbeat aside."""
    pools: dict[tuple[str, ...], dict[Dimensions, None]] = {}
    for pool, _ in (*window.values, *window.rises):
        pools.setdefault(tuple(name for name, _ in pool), {})[pool] = None
    return [
        Measured(each.names, metric, each.held_by(pool), parts)
        for each in dimension_sets
        for pool in pools.get(each.holder, ())
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.name in selection.names
        and (parts := list(_parts(window, (pool, metric.name), metric.scale)))
    ]


def heartbeats(
    window: Window,
    interval: float,
    selection: Selection,
    dimension_sets: Iterable[DimensionSet],
) -> list[Measured]:
    """1 for a window at whose end the source lived, else 0; nothing where it is not selected. It is
    the machine's, and of no holder."""
    alive = window.alive(window.start + interval)
    return [
        Measured(each.names, metric, each.machine, [{"Value": float(alive)}])
        for each in dimension_sets
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.pooling is Pooling.HEARTBEAT
        and metric.name in selection.names
        and not each.holder
    ]


def heartbeat_names(selection: Selection) -> set[str]:
    """The metrics that tell that the exporter lives."""
    return {
        metric.name
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.pooling is Pooling.HEARTBEAT
    }


def datums(window: Window, measured: Iterable[Measured]) -> list[Datum]:
    """What was measured in a window, as PutMetricData takes it."""
    stamp = timestamp(window)
    named: dict[Dimensions, list[dict[str, str]]] = {}
    made: list[Datum] = []
    for _, metric, dimensions, parts in measured:
        if dimensions not in named:
            named[dimensions] = [{"Name": name, "Value": value} for name, value in dimensions]
        base = {
            "MetricName": metric.name,
            "Dimensions": named[dimensions],
            "Timestamp": stamp,
            "Unit": metric.unit,
        }
        made += [{**base, **part} for part in parts]
    return made


def requests(all_datums: Sequence[Datum]) -> Iterator[list[Datum]]:
    """The datums in as few requests as the limits on number and size allow."""
    batch: list[Datum] = []
    size = 0
    for datum in all_datums:
        # As botocore writes it, spaces included; it writes stamps shorter.
        own = len(json.dumps(datum, default=str)) + len(", ")
        if batch and (len(batch) == MOST_DATUMS or size + own > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(datum)
        size += own
    if batch:
        yield batch


def untimely(request: Iterable[Datum], now: float) -> str:
    """Why the stamps of a request would be refused now: too_old, too_far_ahead, or not at all."""
    ages = [now - datum["Timestamp"].timestamp() for datum in request]
    if max(ages) > LONGEST_PAST:
        return "too_old"
    return "too_far_ahead" if min(ages) < -LONGEST_AHEAD else ""


def count_metrics(all_datums: Iterable[Datum]) -> int:
    """How many metrics (name and dimensions) the datums belong to: what CloudWatch bills."""
    return len(
        {
            (datum["MetricName"], *(tuple(d.values()) for d in datum["Dimensions"]))
            for datum in all_datums
        }
    )


def timestamp(window: Window) -> datetime:
    """The stamp of all that a window holds: its start."""
    return datetime.fromtimestamp(window.start, UTC)


def _parts(window: Window, key: Key, scale: float) -> Iterator[dict[str, Any]]:
    """A rise, or values and counts, at most 150 of them at a time.

    Values that came once stand together, since counts may then be left out.
    """
    if key in window.rises:
        yield {"Value": window.rises[key]}
    gathered = iter(
        sorted(window.values.get(key, {}).items(), key=lambda pair: (pair[1] == 1, pair[0]))
    )
    while chunk := list(islice(gathered, MOST_VALUES)):
        # Ratios are made percent again; rounding takes back what the division added.
        made = {"Values": [round(value * scale, 10) if scale != 1 else value for value, _ in chunk]}
        if chunk[0][1] != 1:
            made["Counts"] = [float(count) for _, count in chunk]
        yield made
