"""Conversion of windows to datums of PutMetricData, and batches of datums for its requests.

Limits are those of PutMetricData in the CloudWatch API reference (botocore 1.43, 2026-08).
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.model import CloudWatchMetric, Pooling, Selection
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, DimensionSet
from neuron_exporter.sinks.cloudwatch.pooling import PoolKey
from neuron_exporter.sinks.cloudwatch.window import Window
from neuron_exporter.sinks.delivery.transport import AcceptedAges, split

MAX_VALUES = 150
MAX_DATUMS = 1000
MAX_BYTES = 999_000  # 1,000,000 are allowed; the rest is for the namespace and the frame
MAX_AGE = 14 * 86400.0
MAX_AHEAD = 2 * 3600.0

ACCEPTED_AGES = AcceptedAges(past=MAX_AGE, future=MAX_AHEAD)

Datum = dict[str, Any]


class MetricValues(NamedTuple):
    """A window's values of one metric with one set of dimensions, the unit that CloudWatch bills.

    `names` is the dimension set as configured. Each of `parts` has the values of one datum.
    """

    names: tuple[str, ...]
    metric: CloudWatchMetric
    dimensions: Dimensions
    parts: list[dict[str, Any]]


def collect_metrics(
    window: Window, selection: Selection, dimension_sets: Iterable[DimensionSet]
) -> list[MetricValues]:
    """Return the selected metrics of a window without the heartbeat, by set, in catalogue order."""
    pools: dict[tuple[str, ...], dict[Dimensions, None]] = {}
    for pool, _ in (*window.values, *window.deltas):
        pools.setdefault(tuple(name for name, _ in pool), {})[pool] = None
    return [
        MetricValues(each.names, metric, each.with_owner(pool), parts)
        for each in dimension_sets
        for pool in pools.get(each.owner, ())
        for metric in selected_metrics(selection)
        if (parts := list(_parts(window, (pool, metric.name), metric.scale)))
    ]


def collect_heartbeats(
    window: Window, interval: float, selection: Selection, dimension_sets: Iterable[DimensionSet]
) -> list[MetricValues]:
    """Return the selected heartbeats: 1 if the source was alive at the window's end, else 0. Sets
    with owner dimensions have none."""
    alive = window.alive(window.start + interval)
    return [
        MetricValues(each.names, metric, each.machine, [{"Value": float(alive)}])
        for each in dimension_sets
        for metric in selected_metrics(selection)
        if metric.pooling is Pooling.HEARTBEAT and not each.owner
    ]


def selected_metrics(selection: Selection) -> Iterator[CloudWatchMetric]:
    """Yield the selected metrics in catalogue order."""
    for row in selection.rows:
        yield from (metric for metric in row.cloudwatch if metric.name in selection.names)


def heartbeat_names(selection: Selection) -> set[str]:
    """Return the names of the heartbeats of the rows, selected or not."""
    return {
        metric.name
        for row in selection.rows
        for metric in row.cloudwatch
        if metric.pooling is Pooling.HEARTBEAT
    }


def build_datums(window: Window, metrics: Iterable[MetricValues]) -> list[Datum]:
    """Build the datums of a window's metrics, stamped with the window's start."""
    stamp = datetime.fromtimestamp(window.start, UTC)
    encoded: dict[Dimensions, list[dict[str, str]]] = {}
    datums: list[Datum] = []
    for _, metric, dimensions, parts in metrics:
        if dimensions not in encoded:
            encoded[dimensions] = [{"Name": name, "Value": value} for name, value in dimensions]
        base = {
            "MetricName": metric.name,
            "Dimensions": encoded[dimensions],
            "Timestamp": stamp,
            "Unit": metric.unit,
        }
        datums += [{**base, **part} for part in parts]
    return datums


def batch_datums(datums: Sequence[Datum]) -> Iterator[list[Datum]]:
    """Split datums into as few batches as the limits on number and size allow, also with the spaces
    that botocore writes: an earlier version may send a spooled batch."""
    encoded = ((datum, msgspec.json.encode(datum) + b",") for datum in datums)
    sized = ((datum, len(text) + text.count(b",") + text.count(b":")) for datum, text in encoded)
    return split(sized, MAX_DATUMS, MAX_BYTES)


def encode(namespace: str, datums: Iterable[Datum]) -> bytes:
    """Return the body of a request: the JSON that botocore would send, without its spaces."""
    sent = [
        {**each, "Timestamp": timegm(each["Timestamp"].utctimetuple())}
        if "Timestamp" in each  # a planted spool may contain anything
        else each
        for each in datums
    ]
    return msgspec.json.encode({"Namespace": namespace, "MetricData": sent})


def count_metrics(datums: Iterable[Datum]) -> int:
    """Return the number of different metrics, as CloudWatch bills them: by name and dimensions."""
    return len(
        {(each["MetricName"], *(tuple(d.values()) for d in each["Dimensions"])) for each in datums}
    )


def _parts(window: Window, key: PoolKey, scale: float) -> Iterator[dict[str, Any]]:
    """Yield the increase, or values with their counts, at most 150 in a part. Values that occurred
    once come last: CloudWatch assumes a count of 1."""
    if key in window.deltas:
        yield {"Value": window.deltas[key]}
    counts: Mapping[Any, float] = window.values.get(key, {})
    rising = sorted(counts)
    values = [each for each in rising if counts[each] != 1]
    values += [each for each in rising if counts[each] == 1]
    for start in range(0, len(values), MAX_VALUES):
        chunk = values[start : start + MAX_VALUES]
        # Rounding removes the error of converting percent to a ratio and back.
        part = {"Values": chunk if scale == 1 else [round(each * scale, 10) for each in chunk]}
        if counts[chunk[0]] != 1:
            part["Counts"] = [float(counts[each]) for each in chunk]
        yield part
