"""Latencies of simulated executions, the percentiles that a report has of them, and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

REPORTED = (0, 1, 25, 50, 75, 99, 100)
"""Percentiles in neuron-monitor's reports."""

EXECUTIONS = 1000
"""Executions in a report."""

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
