"""Latencies of simulated executions, the percentiles that a report has of them, and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum
from random import Random

import pytest

from neuron_exporter.metrics.latency import distribution
from neuron_exporter.model import Distribution
from neuron_exporter.sinks.cloudwatch.buckets import RELATIVE_ERROR

REPORTED = (0, 1, 25, 50, 75, 99, 100)
"""Percentiles in neuron-monitor's reports."""

EXECUTIONS = 1000
"""Executions in a report."""

PERCENTS = (0.1, *range(1, 100), 99.5, 99.9, 99.99)

DISTRIBUTIONS: Mapping[str, Callable[[Random], float]] = {
    "lognormal, sigma 0.3": lambda random: random.lognormvariate(-5, 0.3),
    "lognormal, sigma 0.5": lambda random: random.lognormvariate(-5, 0.5),
    "lognormal, sigma 1.0": lambda random: random.lognormvariate(-5, 1.0),
    "exponential": lambda random: random.expovariate(150),
}


def percentile(latencies: list[float], percent: float) -> float:
    """Return a percentile of sorted latencies, as NumPy computes it."""
    position = percent / 100 * (len(latencies) - 1)
    low = int(position)
    high = min(low + 1, len(latencies) - 1)
    return latencies[low] + (position - low) * (latencies[high] - latencies[low])


def simulate_report(
    draw: Callable[[Random], float], random: Random
) -> tuple[list[float], dict[str, float]]:
    """Return the latencies of one report, and the percentiles that it has of them."""
    latencies = sorted(draw(random) for _ in range(EXECUTIONS))
    return latencies, {f"p{each}": percentile(latencies, each) for each in REPORTED}


def errors(values: Mapping[float, float], latencies: list[float]) -> dict[str, float]:
    """Return the relative errors of the statistics that CloudWatch computes from values with their
    counts."""
    exact = sorted(latencies)
    total = sum(values.values())
    found = {"Average": sum(value * count for value, count in values.items()) / total}
    wanted = {"Average": sum(exact) / len(exact)}
    for percent in (50, 90, 95, 99):
        found[f"p{percent}"] = quantile(values, percent)
        wanted[f"p{percent}"] = percentile(exact, percent)
    return {name: found[name] / wanted[name] - 1 for name in wanted}


def quantile(values: Mapping[float, float], percent: float) -> float:
    """Return the smallest value that at least `percent` of a distribution do not exceed."""
    target = sum(values.values()) * percent / 100
    reached = 0.0
    for value, count in sorted(values.items()):
        reached += count
        if reached >= target:
            return value
    raise AssertionError("an empty distribution")


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


def from_percentiles(completed: float, percentiles: dict[str, float]) -> Distribution:
    """Return the distribution of one runtime."""
    pairs = distribution([(completed, percentiles)])
    assert pairs is not None
    return pairs
