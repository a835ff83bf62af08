"""Logarithmic buckets keep what CloudWatch computes from a distribution, within their error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import nextafter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.model import Distribution
from neuron_exporter.sinks.cloudwatch.buckets import LogarithmicBuckets
from tests.support.latencies import assert_within_error


def gathered(pairs: Iterable[tuple[float, float]]) -> Counter[float]:
    """Return the values of buckets after these pairs of a value and a count, one by one."""
    buckets = LogarithmicBuckets()
    for pair in pairs:
        buckets.add((pair,))
    return buckets.value_counts()


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
