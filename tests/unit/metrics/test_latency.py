"""Percentiles become a distribution that can be pooled."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuron_exporter.metrics.latency import distribution

ALL = {"p0": 1.0, "p1": 2.0, "p100": 9.0, "p25": 3.0, "p50": 4.0, "p75": 5.0, "p99": 8.0}


def quantile(pairs: tuple[tuple[float, float], ...], percent: float) -> float:
    """Return the smallest value that at least `percent` of the distribution do not exceed."""
    target = sum(count for _, count in pairs) * percent / 100
    reached = 0.0
    for value, count in sorted(pairs):
        reached += count
        if reached >= target:
            return value
    raise AssertionError("an empty distribution")


@pytest.mark.parametrize("percent", [1, 25, 50, 75, 99, 100])
def test_percentiles_of_distribution_equal_input(percent: int) -> None:
    pairs = distribution([(10_000, ALL)])
    assert pairs is not None
    assert quantile(pairs, percent) == ALL[f"p{percent}"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 10**6), st.sets(st.sampled_from(sorted(ALL)), min_size=1))
def test_counts_sum_to_completed_executions(completed: int, names: set[str]) -> None:
    """Counts are whole, and the lowest and highest latency are kept."""
    known = {name: ALL[name] for name in names}
    pairs = distribution([(completed, known)])
    assert pairs is not None
    assert sum(count for _, count in pairs) == completed
    assert all(count == int(count) > 0 for _, count in pairs)
    if completed >= 2:
        values = [value for value, _ in pairs]
        assert min(values) == min(known.values())
        assert max(values) == max(known.values())


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
    pairs = distribution([(1000, {"p50": 1.0, "p99.9": 3.0, "p99": 2.0})])
    assert pairs is not None
    assert [value for value, _ in pairs] == [1.0, 2.0, 3.0]
    assert quantile(pairs, 99.9) == 3.0


def test_percentile_above_100_is_ignored() -> None:
    assert distribution([(1000, {**ALL, "p999": 8.5})]) == distribution([(1000, ALL)])
    assert distribution([(1000, {"p999": 8.5})]) is None
