"""Embedded Metric Format (EMF): JSON lines from which CloudWatch Logs creates metrics.

Limits are those of AWS's specification of the format, which allows numbers and arrays of numbers as
values. Distributions need `Values` with `Counts`. No published version of the specification has
them, but established writers send them (OpenTelemetry's awsemf exporter, aws-embedded-metrics-java,
metrique), within the limit for arrays. The exporter writes the members that all of them write.
"""

from __future__ import annotations

import errno
import json
import os
import select
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.dimensions import Dimensions
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict, split
from neuron_exporter.validation import SettingProblem

MAX_VALUES = 100
MAX_METRICS = 100
MAX_BYTES = 15 * 1024
"""Length of a line with its end: docker, containerd and log routers split lines at 16 KiB."""

MAX_DIMENSION_BYTES = 8 * 1024
"""Size of the extra dimensions in a document. Every metric fits beside them."""

WRITE_TIMEOUT = 3.0
"""Seconds without progress after which the reader of standard output is considered stuck."""

_MAX_NUMBER = 2.0**360
_METADATA = "_aws"

ValueCounts = Sequence[tuple[float, float]]
"""Values in ascending order, each with its number of occurrences."""


class OutputError(Exception):
    """A line could not be written. With `blocked`, a later attempt may succeed."""

    def __init__(self, code: str, message: str, *, blocked: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.blocked = blocked


class Output:
    """Writer of whole lines that waits for a slow reader, for a limited time.

    The descriptor stays in blocking mode, since other processes may share it. Writes do not block,
    because they have at most PIPE_BUF bytes and poll() reports room for as many.
    """

    def __init__(self, fd: int = 1, timeout: float = WRITE_TIMEOUT) -> None:
        self._fd = fd
        self._timeout = timeout
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def make_room(self) -> None:
        """Write the rest of an unfinished line, and wait for room. Raises OutputError."""
        if _is_dev_null(self._fd):
            raise OutputError("NoOutput", "standard output is closed, or /dev/null")
        self._write_rest()
        self._wait()

    def write(self, line: bytes) -> None:
        """Write a line, after `make_room`. Raises OutputError if the line is incomplete; the next
        `make_room` writes its rest."""
        self._rest = line
        self._write_rest()

    def _write_rest(self) -> None:
        while self._rest:
            self._wait()
            try:
                written = os.write(self._fd, self._rest[: select.PIPE_BUF])
            except OSError as error:
                code = errno.errorcode.get(error.errno or 0, "OSError")
                raise OutputError(code, f"standard output: {error.strerror}") from None
            self._rest = self._rest[written:]

    def _wait(self) -> None:
        if not self._poll.poll(self._timeout * 1000):
            message = "standard output is full, and not being read"
            raise OutputError("OutputBlocked", message, blocked=True)


def _is_dev_null(fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return False  # the write will report the error


class Metric(NamedTuple):
    """The encoded definition and value of one metric in a document."""

    definition: str
    value: str


class EmfTransport:
    """Transport that writes requests to standard output."""

    def __init__(self, output: Output | None = None) -> None:
        self._output = output or Output()

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Write the request. A partly written request is not retried: it would count twice."""
        started = False
        try:
            self._output.make_room()
            too_large = 0
            for document in documents(request.namespace, request.items):
                if len(document) > MAX_BYTES:
                    too_large = len(document)
                    continue
                started = True
                self._output.write(document)
        except OutputError as error:
            verdict = Verdict.RETRY if error.blocked and not started else Verdict.REJECTED
            return Outcome(verdict, error.code, str(error))
        if too_large:
            message = (
                f"a metric with its dimensions has {too_large} bytes: log routers would split it"
            )
            return Outcome(Verdict.REJECTED, "DocumentTooLarge", message)
        return Outcome(Verdict.DELIVERED, clock_agrees=False)

    def close(self) -> None:
        """Do nothing: standard output stays open."""


def check(
    extra: Mapping[str, str], names: Iterable[str], process_labels: Iterable[str] = ()
) -> Iterable[SettingProblem]:
    """Yield the extra dimensions and process labels that EMF cannot express. `names` are the names
    of the metrics."""
    reserved = {_METADATA, *names}
    keys = {f"cloudwatch.extra_dimensions.{name}": name for name in extra}
    keys |= {f"identity.process_labels.{name}": name for name in process_labels}
    for key, name in keys.items():
        if name in reserved:
            message = "with transport emf, the name must not be that of a metric or _aws"
            yield SettingProblem(key, name, message)
    size = len(_json(extra)) + len(_json([*extra]))
    if size > MAX_DIMENSION_BYTES:
        message = (
            f"with transport emf, must have at most {MAX_DIMENSION_BYTES} bytes as JSON, each "
            "name counted twice"
        )
        yield SettingProblem("cloudwatch.extra_dimensions", f"{size} bytes", message)


def documents(namespace: str, datums: Iterable[Datum]) -> Iterator[bytes]:
    """Encode datums as lines. A line longer than MAX_BYTES has a single metric, which does not fit
    into any line."""
    for (stamp, sets), metrics in _group(datums).items():
        yield from _pack(namespace, stamp, sets, metrics)


def downsample(readings: ValueCounts) -> ValueCounts:
    """Reduce a distribution to at most 100 values.

    Minimum and maximum keep their counts. The other readings are divided into 98 ranges of equal
    number, each represented by its mean. Count, sum and average stay exact, and the rank of a
    percentile is wrong by at most 1/98 of the readings.
    """
    if len(readings) <= MAX_VALUES:
        return readings
    low, *inner, high = readings
    number = MAX_VALUES - 2
    total = sum(count for _, count in inner)
    starts = [round(total * index / number) for index in range(number)]
    ranges: list[list[tuple[float, float]]] = [[] for _ in starts]
    start = 0.0
    for value, count in inner:  # a value of many readings lies in several ranges
        end = start + count
        index = bisect_right(starts, start) - 1
        while start < end:
            cut = min(end, starts[index + 1]) if index + 1 < number else end
            ranges[index].append((value, cut - start))
            start, index = cut, index + 1
    means: dict[float, float] = {}
    for members in filter(None, ranges):
        mean, count = _mean(members)
        means[mean] = means.get(mean, 0.0) + count
    return [low, *means.items(), high]


def _mean(readings: ValueCounts) -> tuple[float, float]:
    """Return the mean of the readings with their total count."""
    total = sum(count for _, count in readings)
    mean = sum(value * count for value, count in readings) / total
    return min(max(mean, readings[0][0]), readings[-1][0]), total  # despite rounding errors


def _group(datums: Iterable[Datum]) -> dict[tuple[datetime, tuple[Dimensions, ...]], list[Metric]]:
    """Group the metrics by stamp and by the dimension sets that can share a document."""
    pooled: dict[tuple[datetime, Dimensions, str, str], Counter[Any]] = {}
    for datum in datums:
        dimensions = tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])
        key = (datum["Timestamp"], dimensions, datum["MetricName"], datum["Unit"])
        readings = pooled.setdefault(key, Counter())
        values = datum.get("Values", [datum.get("Value")])
        counts = datum.get("Counts", [1] * len(values))
        for value, count in zip(values, counts, strict=True):
            if abs(value) <= _MAX_NUMBER:  # false for NaN
                readings[value] += count
    alike: dict[tuple[datetime, Metric], list[Dimensions]] = {}
    for (stamp, dimensions, name, unit), readings in pooled.items():
        if readings:
            definition = _json({"Name": name, "Unit": unit})
            value = f"{_json(name)}:{_json(_value(downsample(sorted(readings.items()))))}"
            alike.setdefault((stamp, Metric(definition, value)), []).append(dimensions)
    shared: dict[tuple[datetime, tuple[Dimensions, ...]], list[Metric]] = {}
    for (stamp, metric), sets in alike.items():
        for together in _compatible(sets):
            shared.setdefault((stamp, together), []).append(metric)
    return shared


def _compatible(sets: Iterable[Dimensions]) -> list[tuple[Dimensions, ...]]:
    """Group the sets so that each dimension has one value in a group: a document shows it once."""
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


def _pack(
    namespace: str, stamp: datetime, sets: tuple[Dimensions, ...], metrics: Sequence[Metric]
) -> Iterator[bytes]:
    """Encode the metrics in as few documents as the limits on number and size allow."""
    frame = len(_document(namespace, stamp, sets, []))
    sizes = [len(each.definition) + len(each.value) + len(",,") for each in metrics]
    if len(sets) > 1 and frame + max(sizes) > MAX_BYTES:
        for alone in sets:
            yield from _pack(namespace, stamp, (alone,), metrics)
        return
    for batch in split(zip(metrics, sizes, strict=True), MAX_METRICS, MAX_BYTES - frame):
        yield _document(namespace, stamp, sets, batch)


def _document(
    namespace: str, stamp: datetime, sets: Iterable[Dimensions], metrics: Iterable[Metric]
) -> bytes:
    fields = {name: value for dimensions in sets for name, value in dimensions}
    own = [f"{_json(name)}:{_json(value)}" for name, value in fields.items()]
    members = ",".join([*own, *(metric.value for metric in metrics)])
    names = _json([[name for name, _ in dimensions] for dimensions in sets])
    definitions = ",".join(metric.definition for metric in metrics)
    return (
        f'{{"{_METADATA}":{{"Timestamp":{round(stamp.timestamp() * 1000)},"CloudWatchMetrics":['
        f'{{"Namespace":{_json(namespace)},"Dimensions":{names},"Metrics":[{definitions}]}}]}}'
        f"{',' if members else ''}{members}}}\n"
    ).encode()


def _value(readings: ValueCounts) -> object:
    """Return the shortest of the three equivalent forms."""
    values = [_short(value) for value, _ in readings]
    if all(count == 1 for _, count in readings):
        return values if len(values) > 1 else values[0]
    counts = [_short(count) for _, count in readings]
    return {"Values": values, "Counts": counts, "Count": sum(counts)}


def _short(number: float) -> float:
    """Return a whole number without its decimals: logs are billed by the byte."""
    return int(number) if abs(number) < 2**53 and number == int(number) else number


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
