"""The points of a snapshot, and the samples of its scrape."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Selection, Snapshot
from neuron_exporter.sinks.machine_labels import machine_labels
from neuron_exporter.sinks.otlp.encode import Present, encode_requests, nanoseconds
from neuron_exporter.sinks.otlp.starts import StartTimes
from neuron_exporter.sinks.otlp.table import CommonLabels, PointTable
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests.support.otlp_points import Point, read_points

EVERYTHING, _ = select_for_prometheus("full", ["*"], [])
STARTED = 1.6e9

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def points_of(snapshot: Snapshot, selection: Selection = EVERYTHING) -> list[Point]:
    """Return the points of a snapshot, as a receiver decodes them."""
    machine = machine_labels(snapshot.machine)
    starts = StartTimes(min(STARTED, snapshot.taken_at.wall), 1.0, CATALOGUE).observe(snapshot)
    wall = snapshot.taken_at.wall
    table = PointTable(snapshot.shape, selection, CommonLabels(machine, machine), starts, wall)
    present: Present = {}
    metrics = table.encode(snapshot, nanoseconds(wall), frozenset(), present)
    points = [
        point for body in encode_requests(metrics, {"a": "b"}) for point in read_points(body, wall)
    ]
    assert len(present) == len(points)
    return points


def samples_of(snapshot: Snapshot, selection: Selection = EVERYTHING) -> Samples:
    """Return the samples of a scrape."""
    sink = PrometheusSink(selection)
    sink.offer(snapshot)
    text = sink.expose(snapshot.taken_at.monotonic).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def assert_equal(snapshot: Snapshot, selection: Selection = EVERYTHING) -> None:
    """Assert that the points of a snapshot equal the samples of its scrape."""
    points = points_of(snapshot, selection)
    assert {(p.name, p.attributes): p.value for p in points} == samples_of(snapshot, selection)
    for point in points:
        assert (point.kind == "sum") == point.name.endswith("_total")
        assert bool(point.start) == (point.kind == "sum")
