"""A snapshot's scrape, read again, and written by prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import MetricKind, Snapshot
from neuron_exporter.sinks.machine_labels import machine_labels
from neuron_exporter.sinks.prometheus import PrometheusSink

EVERYTHING, _ = select_for_prometheus("full", ["*"], [])


def scrape(snapshot: Snapshot, sink: PrometheusSink | None = None) -> str:
    """Return a scrape at the time of the snapshot."""
    sink = sink or PrometheusSink(EVERYTHING)
    sink.offer(snapshot)
    return sink.expose(snapshot.taken_at.monotonic).decode()


def parsed(text: str) -> dict[str, Any]:
    """Return the families with samples: type, help and values by labels."""
    return {
        family.name: (
            family.type,
            family.documentation,
            {(s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples},
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }


class SnapshotCollector(Collector):
    """Collector of a snapshot's samples as prometheus_client's own families."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Return a family for each published row."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        machine = machine_labels(self._snapshot.machine)
        for series, value in zip(self._snapshot.shape, self._snapshot.values, strict=True):
            if value is None or not series.spec.layouts:
                continue
            labels = dict(series.labels + machine)
            kind = (
                CounterMetricFamily if series.spec.kind is MetricKind.COUNTER else GaugeMetricFamily
            )
            family = families.setdefault(series.spec.name, kind(series.spec.name, series.spec.help))
            suffix = "_total" if series.spec.kind is MetricKind.COUNTER else ""
            family.add_sample(family.name + suffix, labels, value)
        return families.values()


def as_prometheus_client_writes(snapshot: Snapshot) -> str:
    """Write a snapshot with prometheus_client's registry and writer."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    return generate_latest(registry).decode()
