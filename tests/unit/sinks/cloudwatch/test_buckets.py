"""Logarithmic buckets keep what CloudWatch computes from a distribution, within their error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from math import fsum, nextafter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Distribution, MetricKind
from neuron_exporter.sinks.cloudwatch.buckets import RELATIVE_ERROR, LogarithmicBuckets
from neuron_exporter.sinks.cloudwatch.datums import MAX_VALUES
from neuron_exporter.sinks.cloudwatch.pooling import MACHINE_POOL
from neuron_exporter.sinks.cloudwatch.window import Windows
from tests import captures
from tests.support.latencies import quantile
from tests.support.reports import Harness
from tests.support.simulated import reports
from tests.unit.sinks.cloudwatch.test_window import START, at

PERCENTS = (0.1, *range(1, 100), 99.5, 99.9, 99.99)
FULL, _ = select_for_cloudwatch("full", [], [])
NAMES = {
    row.name: row.cloudwatch[0].name for row in FULL.rows if row.kind is MetricKind.DISTRIBUTION
}


def gathered(pairs: Iterable[tuple[float, float]]) -> Counter[float]:
    """Return the values of buckets after these pairs of a value and a count, one by one."""
    buckets = LogarithmicBuckets()
    for pair in pairs:
        buckets.add((pair,))
    return buckets.value_counts()


def assert_within_error(values: Mapping[float, float], exact: Mapping[float, float]) -> None:
    """Extremes, number and sum are equal, and each percentile is within the error."""
    assert (min(values), max(values)) == (min(exact), max(exact))
    assert sum(values.values()) == sum(exact.values())
    assert min(values.values()) >= 1
    sums = [fsum(value * count for value, count in each.items()) for each in (values, exact)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12, abs=0)
    for percent in PERCENTS:
        wanted = quantile(exact, percent)
        assert abs(quantile(values, percent) - wanted) <= RELATIVE_ERROR * wanted * (1 + 1e-9)


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


COUNTS = st.integers(1, 10**9).map(float)
NEARBY = st.integers(0, 2000).map(lambda step: 0.005 * (1 + step / 100_000))


@given(
    st.lists(st.tuples(st.one_of(st.floats(0, 2.0**63), st.just(0.0), NEARBY), COUNTS), min_size=1)
)
def test_any_distribution(pairs: list[tuple[float, float]]) -> None:
    exact: Counter[Any] = Counter()
    for value, count in pairs:
        exact[value] += count
    assert_within_error(gathered(pairs), exact)


def test_value_alone_in_its_bucket_is_exact() -> None:
    assert gathered([(0.1, 7.0), (0.2, 2.0), (0.1, 3.0)]) == {0.1: 10, 0.2: 2}
    assert gathered([(0.0, 3.0)]) == {0.0: 3}
    assert gathered([(0.005, 1.0)]) == {0.005: 1}


def test_extremes_of_one_bucket_are_kept() -> None:
    low, high = 0.005, nextafter(0.005, 1)
    assert gathered([(high, 1.0), (low, 1.0)]) == {low: 1, high: 1}


def test_empty_distribution_has_no_values() -> None:
    buckets = LogarithmicBuckets()
    buckets.add(())
    assert buckets.value_counts() == {}


def test_number_of_values_is_bounded() -> None:
    """However many different latencies there are from a microsecond to an hour."""
    steps = 200_000
    span: Distribution = tuple((1e-6 * 3.6e9 ** (step / steps), 1.0) for step in range(steps + 1))
    assert len(gathered(span)) <= 4_414
