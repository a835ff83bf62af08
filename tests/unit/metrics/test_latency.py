"""Percentiles become a distribution that can be pooled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.latency import INTERPOLATED, distribution
from neuron_exporter.sinks.cloudwatch.datums import MAX_VALUES
from tests.support.latencies import REPORTED, from_percentiles, quantile

ALL = {"p0": 1.0, "p1": 2.0, "p100": 9.0, "p25": 3.0, "p50": 4.0, "p75": 5.0, "p99": 8.0}


@pytest.mark.parametrize("percent", [1, 25, 50, 75, 99, 100])
def test_percentiles_of_distribution_equal_input(percent: int) -> None:
    assert quantile(dict(from_percentiles(10_000, ALL)), percent) == ALL[f"p{percent}"]


def test_ranks_between_percentiles_are_interpolated() -> None:
    pairs = dict(from_percentiles(10_000, ALL))
    assert 2 < quantile(pairs, 10) < 3
    assert 5 < quantile(pairs, 90) < quantile(pairs, 95) < quantile(pairs, 98) < 8
    assert 8 < quantile(pairs, 99.8) < 9


@given(st.integers(1, 10**6), st.sets(st.sampled_from(sorted(ALL)), min_size=1))
def test_counts_sum_to_completed_executions(completed: int, names: set[str]) -> None:
    """Counts are whole, and the lowest and highest latency are kept."""
    known = {name: ALL[name] for name in names}
    pairs = from_percentiles(completed, known)
    assert sum(count for _, count in pairs) == completed
    assert all(count == int(count) > 0 for _, count in pairs)
    values = [value for value, _ in pairs]
    assert values == sorted(set(values))
    if completed >= 2:
        assert (values[0], values[-1]) == (min(known.values()), max(known.values()))


def test_a_minute_of_reports_fits_into_one_datum() -> None:
    assert len(from_percentiles(10**6, ALL)) == len(REPORTED) + len(INTERPOLATED)
    assert 12 * (len(REPORTED) + len(INTERPOLATED)) <= MAX_VALUES


def test_single_execution_has_median_latency() -> None:
    assert from_percentiles(1, ALL) == ((4.0, 1),)
    assert from_percentiles(1, {"p0": 1.0, "p100": 1.0}) == ((1.0, 1),)


def test_equal_percentiles_stay_one_value() -> None:
    assert {value for value, _ in from_percentiles(1000, dict.fromkeys(ALL, 0.1))} == {0.1}


def test_latency_of_zero_is_interpolated() -> None:
    pairs = dict(from_percentiles(1000, {**ALL, "p75": 0.0, "p50": 0.0}))
    assert 0 < quantile(pairs, 90) < 8


def test_extreme_numbers_stay_between_their_percentiles() -> None:
    values = [value for value, _ in from_percentiles(1e300, {**ALL, "p75": 5e-324, "p99": 1e308})]
    assert max(values) == 1e308


def test_runtimes_are_weighted_by_completed_executions() -> None:
    pairs = distribution([(900, {"p50": 1.0}), (100, {"p50": 2.0})])
    assert pairs == ((1.0, 900), (2.0, 100))


@pytest.mark.parametrize(
    "runtimes",
    [[], [(5, None)], [(0, ALL)], [(5, {})], [(5, {"p50": None})], [(5, {"median": 1.0})]],
)
def test_no_executions_or_percentiles_make_no_distribution(runtimes: list[object]) -> None:
    assert distribution(runtimes) is None  # type: ignore[arg-type]


def test_unlisted_percentiles_are_ordered() -> None:
    pairs = from_percentiles(1000, {"p50": 1.0, "p99.9": 3.0, "p99": 2.0})
    values = [value for value, _ in pairs]
    assert values == sorted(values)
    assert quantile(dict(pairs), 99.9) == 3.0
    assert 2 < quantile(dict(pairs), 99.8) < 3


def test_percentile_above_100_is_ignored() -> None:
    assert distribution([(1000, {**ALL, "p999": 8.5})]) == distribution([(1000, ALL)])
    assert distribution([(1000, {"p999": 8.5})]) is None
