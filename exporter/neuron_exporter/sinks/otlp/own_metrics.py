"""The exporter's own metrics, as points of OTLP.

They have the machine's labels, since no server adds an `instance` to them. Summaries, of which
some receivers take none, are left out: they show how long parts of the exporter take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from neuron_exporter.model import Labels, Unit
from neuron_exporter.sinks.otlp.encode import (
    EncodedMetric,
    MetricHead,
    PointKey,
    Present,
    encode_attributes,
    encode_points,
    encode_start,
    nanoseconds,
)


class OwnMetrics:
    """Encoder of a registry, for one thread. `started` is the start of its counters."""

    def __init__(self, registry: CollectorRegistry, started: float) -> None:
        self._registry = registry
        self._started = started
        self._start = encode_start(started)
        self._attributes: dict[Labels, bytes] = {}
        self._heads: dict[str, MetricHead] = {}

    def encode(self, labels: Labels, time: int, present: Present) -> Iterator[EncodedMetric]:
        """Yield the metrics at a time in nanoseconds, with these labels besides their own. Add
        their series to `present`."""
        if time < nanoseconds(self._started):  # the clock was set back
            self._started = time / 1e9
            self._start = encode_start(self._started)
        values: dict[MetricHead, list[tuple[bytes, float]]] = {}
        for family in self._registry.collect():
            if family.type == "summary":
                continue
            is_counter = family.type == "counter"
            for sample in family.samples:
                if math.isnan(sample.value):
                    continue
                head = self._heads.get(sample.name)
                if head is None:
                    head = MetricHead.of(sample.name, _unit(sample.name), is_counter=is_counter)
                    self._heads[sample.name] = head
                own = (*sample.labels.items(), *labels)
                attributes = self._attributes.get(own)
                if attributes is None:
                    attributes = self._attributes[own] = encode_attributes(own)
                values.setdefault(head, []).append((attributes, sample.value))
        for head, found in values.items():
            start = self._start if head.is_counter else b""
            present.update((PointKey(head, attributes), start) for attributes, _ in found)
            points = [attributes + start for attributes, _ in found]
            yield EncodedMetric(head, encode_points(points, [value for _, value in found], time))


def _unit(name: str) -> Unit:
    """Return the unit that a name ends with."""
    end = name.removesuffix("_total").rpartition("_")[2]
    return Unit(end) if end in ("bytes", "seconds", "ratio") else Unit.NONE
