"""The points of a report equal its Prometheus samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Machine, Selection, Snapshot
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.sinks.machine_labels import machine_labels
from neuron_exporter.sinks.otlp.encode import Present, encode_requests, nanoseconds
from neuron_exporter.sinks.otlp.starts import StartTimes
from neuron_exporter.sinks.otlp.table import CommonLabels, PointTable
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests import captures
from tests.support.otlp_points import Point, read_points
from tests.support.reports import Harness, executions, report, runtime

EVERYTHING, _ = select_for_prometheus("full", ["*"], [])
HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
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
    points = points_of(snapshot, selection)
    assert {(p.name, p.attributes): p.value for p in points} == samples_of(snapshot, selection)
    for point in points:
        assert (point.kind == "sum") == point.name.endswith("_total")
        assert bool(point.start) == (point.kind == "sum")


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports(path: Path) -> None:
    harness = Harness(period=None)
    for line in captures.lines(path):
        assert_equal(harness.collect(json.loads(line), machine=HERE).snapshot)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "inf2.24xlarge", "trn1.32xlarge"])
def test_simulated_reports(instance_type: str, scenario: str) -> None:
    for snapshot in simulated(instance_type, scenario):
        assert_equal(snapshot)


@pytest.mark.parametrize("preset", ["minimal", "standard", "full"])
def test_presets(preset: str) -> None:
    selection, _ = select_for_prometheus(preset, [], ["*{neuroncore='1'}".replace("'", '"')])
    for snapshot in simulated("trn1.32xlarge", "training"):
        assert_equal(snapshot, selection)


def simulated(instance_type: str, scenario: str) -> Iterator[Snapshot]:
    """Yield the snapshots of some simulated reports."""
    machine = SimulatedMachine(parse(["--instance-type", instance_type, "--scenario", scenario]))
    harness = Harness()
    for number in range(3):
        yield harness.collect(machine.report(number), machine=HERE).snapshot


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value(tag: str, name: str) -> None:
    busy = runtime(1, tag, execution_stats=executions(3))
    assert_equal(Harness().collect(report(busy), machine=Machine(instance_name=name)).snapshot)


def test_units_are_sent_where_receivers_append_nothing() -> None:
    """Receivers for Prometheus append the unit to a name that does not end with it."""
    units = {p.name: p.unit for s in simulated("trn1.32xlarge", "training") for p in points_of(s)}
    assert units["neuroncore_utilization_ratio"] == "1"
    assert units["system_memory_total_bytes"] == "By"
    assert units["neuroncore_memory_usage_tensors"] == ""
    assert units["execution_status_total"] == ""


def test_series_of_the_table_before_are_taken_over() -> None:
    harness = Harness()
    labels = CommonLabels((), ())
    one = runtime(1, "a", execution_stats=executions(3))
    two = runtime(2, "b", execution_stats=executions(4))
    starts = StartTimes(STARTED, 60.0, CATALOGUE)
    first = harness.collect(report(one)).snapshot
    table = PointTable(first.shape, EVERYTHING, labels, starts.observe(first), 1e10)
    second = harness.collect(report(one, two)).snapshot
    later = starts.observe(second)
    fresh = PointTable(second.shape, EVERYTHING, labels, later, 1e10)
    reused = PointTable(second.shape, EVERYTHING, labels, later, 1e10, table)
    present: list[Present] = [{}, {}]
    for each, found in zip((fresh, reused), present, strict=True):
        list(each.encode(second, 10**18, frozenset(), found))
    assert present[0] == present[1]
