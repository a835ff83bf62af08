"""The points of a report equal its Prometheus samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Machine
from neuron_exporter.sinks.otlp.encode import Present
from neuron_exporter.sinks.otlp.starts import StartTimes
from neuron_exporter.sinks.otlp.table import CommonLabels, PointTable
from tests import captures
from tests.support.otlp_samples import EVERYTHING, STARTED, assert_equal, points_of
from tests.support.reports import Harness, executions, report, runtime
from tests.support.simulated import HERE, snapshots


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports(path: Path) -> None:
    harness = Harness(period=None)
    for line in captures.lines(path):
        assert_equal(harness.collect(json.loads(line), machine=HERE).snapshot)


@pytest.mark.parametrize("preset", ["minimal", "standard", "full"])
def test_presets(preset: str) -> None:
    selection, _ = select_for_prometheus(preset, [], ["*{neuroncore='1'}".replace("'", '"')])
    for snapshot in snapshots("trn1.32xlarge", "training"):
        assert_equal(snapshot, selection)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_label_value(tag: str, name: str) -> None:
    busy = runtime(1, tag, execution_stats=executions(3))
    assert_equal(Harness().collect(report(busy), machine=Machine(instance_name=name)).snapshot)


def test_units_are_sent_where_receivers_append_nothing() -> None:
    """Receivers for Prometheus append the unit to a name that does not end with it."""
    units = {p.name: p.unit for s in snapshots("trn1.32xlarge", "training") for p in points_of(s)}
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
