"""Percentiles become a distribution that can be pooled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.latency import distribution

ALL = {"p0": 1.0, "p1": 2.0, "p100": 9.0, "p25": 3.0, "p50": 4.0, "p75": 5.0, "p99": 8.0}


def quantile(pairs: tuple[tuple[float, float], ...], percent: float) -> float:
    """The smallest value that so many percent of the distribution do not exceed."""
    wanted = sum(count for _, count in pairs) * percent / 100
    reached = 0.0
    for value, count in sorted(pairs):
        reached += count
        if reached >= wanted:
            return value
    raise AssertionError("an empty distribution")


@pytest.mark.parametrize("percent", [1, 25, 50, 75, 99, 100])
def test_each_percentile_reads_back(percent: int) -> None:
    """A percentile of the distribution is the percentile that it was made of."""
    pairs = distribution([(10_000, ALL)])
    assert pairs is not None
    assert quantile(pairs, percent) == ALL[f"p{percent}"]


@given(st.integers(1, 10**6), st.sets(st.sampled_from(sorted(ALL)), min_size=1))
def test_counts_sum_to_what_was_completed(completed: int, names: set[str]) -> None:
    """No execution is lost or made up by the apportioning, and the extremes survive."""
    known = {name: ALL[name] for name in names}
    pairs = distribution([(completed, known)])
    assert pairs is not None
    assert sum(count for _, count in pairs) == completed
    assert all(count == int(count) > 0 for _, count in pairs)
    if completed >= 2:
        values = [value for value, _ in pairs]
        assert min(values) == min(known.values())
        assert max(values) == max(known.values())


def test_runtimes_weigh_by_what_they_completed() -> None:
    """A busy runtime counts for more than an idle one."""
    pairs = distribution([(900, {"p50": 1.0}), (100, {"p50": 2.0})])
    assert pairs == ((1.0, 900), (2.0, 100))


@pytest.mark.parametrize(
    "runtimes",
    [[], [(5, None)], [(0, ALL)], [(5, {})], [(5, {"p50": None})], [(5, {"median": 1.0})]],
)
def test_nothing_completed_is_no_distribution(runtimes: list[object]) -> None:
    """Without an execution or without a percentile there is nothing, not a zero."""
    assert distribution(runtimes) is None  # type: ignore[arg-type]


def test_other_percentiles_are_understood() -> None:
    """A percentile that a later SDK adds takes its place among the others."""
    pairs = distribution([(1000, {"p50": 1.0, "p99.9": 3.0, "p99": 2.0})])
    assert pairs is not None
    assert [value for value, _ in pairs] == [1.0, 2.0, 3.0]
    assert quantile(pairs, 99.9) == 3.0


def test_what_cannot_be_a_percentile_stands_for_nothing() -> None:
    """A name above 100, as the short form p999, neither gets executions nor takes any away."""
    assert distribution([(1000, {**ALL, "p999": 8.5})]) == distribution([(1000, ALL)])
    assert distribution([(1000, {"p999": 8.5})]) is None
