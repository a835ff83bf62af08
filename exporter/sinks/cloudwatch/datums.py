"""From a window to the datums of PutMetricData, and from datums to requests of legal size.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from exporter.model import Pooling, Selection
from exporter.sinks.cloudwatch.plan import Dimensions
from exporter.sinks.cloudwatch.window import Window

MOST_VALUES = 150
MOST_DATUMS = 1000
MOST_BYTES = 999_000  # of the 1,000,000 that are allowed: the envelope needs some
LONGEST_PAST = 14 * 86400.0
LONGEST_AHEAD = 2 * 3600.0

Datum = dict[str, Any]


def datums(
    window: Window, selection: Selection, dimension_sets: Iterable[Dimensions]
) -> list[Datum]:
    """The datums of one window, the heartbeat aside, in the order of the catalogue."""
    stamp = timestamp(window)
    made: list[Datum] = []
    for dimensions in dimension_sets:
        named = [{"Name": name, "Value": value} for name, value in dimensions]
        for row in selection.rows:
            for metric in row.cloudwatch:
                base = {
                    "MetricName": metric.name,
                    "Dimensions": named,
                    "Timestamp": stamp,
                    "Unit": metric.unit,
                }
                if metric.name in window.rises:
                    made.append({**base, "Value": window.rises[metric.name]})
                made += [{**base, **chunk} for chunk in _chunks(window, metric.name, metric.scale)]
    return made


def heartbeats(
    window: Window,
    interval: float,
    selection: Selection,
    dimension_sets: Iterable[Dimensions],
) -> list[Datum]:
    """1 for a window at whose end the source lived, else 0; nothing where it is not selected."""
    alive = window.alive(window.start + interval)
    return [
        {
            "MetricName": metric.name,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
            "Timestamp": timestamp(window),
            "Unit": metric.unit,
            "Value": float(alive),
        }
        for dimensions in dimension_sets
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.pooling is Pooling.HEARTBEAT and metric.name in selection.names
    ]


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


def _chunks(window: Window, name: str, scale: float) -> Iterator[dict[str, list[float]]]:
    """Values and counts of a metric, at most 150 of them at a time.

    Values that came once stand together, since counts may then be left out.
    """
    gathered = iter(
        sorted(window.values.get(name, {}).items(), key=lambda pair: (pair[1] == 1, pair[0]))
    )
    while chunk := list(islice(gathered, MOST_VALUES)):
        # Ratios are made percent again; rounding takes back what the division added.
        made = {"Values": [round(value * scale, 10) if scale != 1 else value for value, _ in chunk]}
        if chunk[0][1] != 1:
            made["Counts"] = [float(count) for _, count in chunk]
        yield made
