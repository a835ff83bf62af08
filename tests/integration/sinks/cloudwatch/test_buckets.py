"""Logarithmic buckets keep the latencies of recorded and simulated reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import MetricKind
from neuron_exporter.sinks.cloudwatch.datums import MAX_VALUES
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Windows
from tests import captures
from tests.support.cloudwatch_sinks import START
from tests.support.datums import at
from tests.support.latencies import assert_within_error
from tests.support.reports import Harness
from tests.support.simulated import reports

FULL, _ = select_for_cloudwatch("full", [], [])
NAMES = {
    row.name: row.cloudwatch[0].name for row in FULL.rows if row.kind is MetricKind.DISTRIBUTION
}


def published_and_exact(
    documents: Iterable[Any],
) -> dict[str, tuple[Counter[float], Counter[float]]]:
    """Return the values of each latency that a window has, and those of its snapshots."""
    windows, harness = Windows(FULL, 60), Harness()
    exact: dict[str, Counter[Any]] = {name: Counter() for name in NAMES.values()}
    for number, document in enumerate(documents):
        snapshot = harness.collect(document).snapshot
        windows.add(at(snapshot, START + number))
        for series, value in zip(snapshot.shape, snapshot.values, strict=True):
            if isinstance(value, tuple):
                for latency, count in value:
                    exact[NAMES[series.spec.name]][latency] += count
    (window,) = windows.take(START + 60)
    return {
        name: (window.values[MACHINE_POOL, name], counts)
        for name, counts in exact.items()
        if counts
    }


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_latencies(path: Path) -> None:
    for values, exact in published_and_exact(map(json.loads, captures.lines(path))).values():
        assert_within_error(values, exact)


def test_some_recording_has_latencies() -> None:
    lines = [line for path in captures.all_captures() for line in captures.lines(path)]
    if not lines:
        pytest.skip(captures.MISSING)
    assert published_and_exact(map(json.loads, lines)).keys() == set(NAMES.values())


@pytest.mark.parametrize("runtimes", [1, 8, 32])
def test_moving_latencies(runtimes: int) -> None:
    """A minute of reports, in each of which every latency is another."""
    flags = ("--scenario", "inference", "--runtimes", str(runtimes))
    found = published_and_exact(reports(13, *flags)[1:])
    assert found.keys() == set(NAMES.values())
    for values, exact in found.values():
        assert_within_error(values, exact)
    values, exact = found["ExecutionLatency"]
    if runtimes == 32:
        assert len(exact) > 20 * MAX_VALUES
        assert len(values) < 6 * MAX_VALUES
