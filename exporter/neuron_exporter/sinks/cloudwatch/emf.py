"""The Embedded Metric Format: requests as lines of JSON that CloudWatch Logs makes metrics of.

Limits are those of AWS's specification of the format. It names numbers and arrays of numbers as
values. `Values` with `Counts`, which distributions need, is in none of its versions that could be
read; it is what established writers of the format send (OpenTelemetry's awsemf exporter,
aws-embedded-metrics-java, metrique), with the limit of the arrays. The members are those that all
of them write.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions, Problem
from neuron_exporter.sinks.cloudwatch.output import Output, OutputError
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict

MOST_VALUES = 100
MOST_METRICS = 100
MOST_BYTES = 15 * 1024
"""A line with its end: docker, containerd and the log routers behind them split at 16 KiB."""

MOST_DIMENSION_BYTES = 8 * 1024
"""What extra dimensions may take of a document, so that every metric finds room beside them."""

_LARGEST = 2.0**360
_METADATA = "_aws"

Readings = Sequence[tuple[float, float]]
"""Values in ascending order, each with how often it came."""


class Metric(NamedTuple):
    """One metric of a document: its definition and its value, as they are written."""

    definition: str
    value: str


class Emf:
    """A transport that writes requests to standard output."""

    def __init__(self, output: Output | None = None) -> None:
        self._output = output or Output()

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Write the datums. What was begun is not tried again, since it would count twice."""
        begun = False
        try:
            self._output.make_room()
            too_large = 0
            for document in documents(namespace, datums):
                if len(document) > MOST_BYTES:
                    too_large = len(document)
                    continue
                begun = True
                self._output.write(document)
        except OutputError as error:
            verdict = Verdict.RETRY if error.blocked and not begun else Verdict.NEVER
            return Outcome(verdict, error.code, str(error))
        if too_large:
            return Outcome(
                Verdict.NEVER,
                "DocumentTooLarge",
                f"a metric and its dimensions take {too_large} bytes: log routers would split it",
            )
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Standard output is not ours to close."""


def check(extra: Mapping[str, str], names: Iterable[str]) -> Iterable[Problem]:
    """What this format cannot hold: `names` are those of the metrics."""
    taken = {_METADATA, *names}
    for name in extra:
        if name in taken:
            yield Problem(
                f"cloudwatch.extra_dimensions.{name}",
                name,
                "with transport emf a dimension cannot have the name of a metric, or be _aws",
            )
    size = len(_json(extra)) + len(_json([*extra]))
    if size > MOST_DIMENSION_BYTES:
        yield Problem(
            "cloudwatch.extra_dimensions",
            f"{size} bytes",
            f"with transport emf they take at most {MOST_DIMENSION_BYTES} bytes, as JSON, each "
            "name counted twice",
        )


def documents(namespace: str, datums: Iterable[Datum]) -> Iterator[bytes]:
    """The datums as lines. One longer than MOST_BYTES is a single metric that cannot be shorter."""
    for (stamp, sets), metrics in _shared(datums).items():
        yield from _packed(namespace, stamp, sets, metrics)


def thinned(readings: Readings) -> Readings:
    """At most 100 of the values, which stand for all.

    Minimum and maximum keep their counts. The others are parted into 98 ranges of equal weight;
    the middle value of each stands for all in it. So the sum of the counts is exact, and a
    percentile is a value whose rank is wrong by at most a 98th of the readings.
    """
    if len(readings) <= MOST_VALUES:
        return readings
    low, *inner, high = readings
    ranges: dict[int, list[tuple[float, float]]] = {}
    width = sum(count for _, count in inner) / (MOST_VALUES - 2)
    reached = 0.0
    for value, count in inner:
        place = min(int((reached + count / 2) / width), MOST_VALUES - 3)
        ranges.setdefault(place, []).append((value, count))
        reached += count
    return [low, *map(_middle, ranges.values()), high]


def _middle(readings: Readings) -> tuple[float, float]:
    """The value that half of the readings do not exceed, for all of them."""
    reached = list(accumulate(count for _, count in readings))
    return readings[bisect_left(reached, reached[-1] / 2)][0], reached[-1]


def _shared(
    datums: Iterable[Datum],
) -> dict[tuple[datetime, tuple[Dimensions, ...]], list[Metric]]:
    """The metrics of each moment by the dimension sets that can share a document."""
    pooled: dict[tuple[datetime, Dimensions, str, str], Counter[Any]] = {}
    for datum in datums:
        dimensions = tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])
        key = (datum["Timestamp"], dimensions, datum["MetricName"], datum["Unit"])
        readings = pooled.setdefault(key, Counter())
        values = datum.get("Values", [datum.get("Value")])
        counts = datum.get("Counts", [1] * len(values))
        for value, count in zip(values, counts, strict=True):
            if abs(value) <= _LARGEST:  # which no NaN is
                readings[value] += count
    alike: dict[tuple[datetime, Metric], list[Dimensions]] = {}
    for (stamp, dimensions, name, unit), readings in pooled.items():
        if readings:
            definition = _json({"Name": name, "Unit": unit})
            value = f"{_json(name)}:{_json(_value(thinned(sorted(readings.items()))))}"
            alike.setdefault((stamp, Metric(definition, value)), []).append(dimensions)
    shared: dict[tuple[datetime, tuple[Dimensions, ...]], list[Metric]] = {}
    for (stamp, metric), sets in alike.items():
        for together in _compatible(sets):
            shared.setdefault((stamp, together), []).append(metric)
    return shared


def _compatible(sets: Iterable[Dimensions]) -> list[tuple[Dimensions, ...]]:
    """The sets in groups, in none of which a dimension has two values."""
    groups: list[tuple[dict[str, str], list[Dimensions]]] = []
    for dimensions in sets:
        fitting = (
            group
            for group in groups
            if all(group[0].get(name, value) == value for name, value in dimensions)
        )
        group = next(fitting, None)
        if group is None:
            groups.append(group := ({}, []))
        group[0].update(dimensions)
        group[1].append(dimensions)
    return [tuple(members) for _, members in groups]


def _packed(
    namespace: str, stamp: datetime, sets: tuple[Dimensions, ...], metrics: Sequence[Metric]
) -> Iterator[bytes]:
    """The metrics in as few documents as the limits on number and size allow."""
    frame = len(_document(namespace, stamp, sets, []))
    sizes = [len(each.definition) + len(each.value) + len(",,") for each in metrics]
    if len(sets) > 1 and frame + max(sizes) > MOST_BYTES:
        for alone in sets:
            yield from _packed(namespace, stamp, (alone,), metrics)
        return
    batch: list[Metric] = []
    size = frame
    for metric, own in zip(metrics, sizes, strict=True):
        if batch and (len(batch) == MOST_METRICS or size + own > MOST_BYTES):
            yield _document(namespace, stamp, sets, batch)
            batch, size = [], frame
        batch.append(metric)
        size += own
    yield _document(namespace, stamp, sets, batch)


def _document(
    namespace: str, stamp: datetime, sets: Iterable[Dimensions], metrics: Iterable[Metric]
) -> bytes:
    fields = {name: value for dimensions in sets for name, value in dimensions}
    members = ",".join(
        [
            *(f"{_json(name)}:{_json(value)}" for name, value in fields.items()),
            *(metric.value for metric in metrics),
        ]
    )
    names = _json([[name for name, _ in dimensions] for dimensions in sets])
    definitions = ",".join(metric.definition for metric in metrics)
    return (
        f'{{"{_METADATA}":{{"Timestamp":{round(stamp.timestamp() * 1000)},"CloudWatchMetrics":['
        f'{{"Namespace":{_json(namespace)},"Dimensions":{names},"Metrics":[{definitions}]}}]}}'
        f"{',' if members else ''}{members}}}\n"
    ).encode()


def _value(readings: Readings) -> object:
    """The shortest of the three forms that says the same."""
    values = [_short(value) for value, _ in readings]
    if all(count == 1 for _, count in readings):
        return values if len(values) > 1 else values[0]
    counts = [_short(count) for _, count in readings]
    return {"Values": values, "Counts": counts, "Count": sum(counts)}


def _short(number: float) -> float:
    """The same number without its decimals, where these are none: logs are paid by the byte."""
    return int(number) if abs(number) < 2**53 and number == int(number) else number


def _json(what: object) -> str:
    return json.dumps(what, separators=(",", ":"), allow_nan=False)
