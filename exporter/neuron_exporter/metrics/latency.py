"""Converts latency percentiles into distributions, which can be pooled over runtimes.

neuron-monitor reports some percentiles of the executions of a period, without their sum. Between
two of them, more are interpolated. Each percentile, reported or interpolated, stands for the
executions around it, up to half-way to its neighbours.

Latencies are skewed to the right, so that a straight line from p75 to p99 would be far above most
executions between them. The logarithm of the latency is interpolated over the quantile of the
normal distribution instead. This is exact for lognormal latencies; docs/cloudwatch.md states the
errors of this and other distributions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from math import ceil
from statistics import NormalDist
from typing import NamedTuple

from neuron_exporter.metrics.counters import NamedValues
from neuron_exporter.model import Distribution

INTERPOLATED = (10.0, 90.0, 95.0, 98.0, 99.8)
"""Percentiles that are added where they lie between two reported ones. With neuron-monitor's seven
they make twelve values: those of twelve reports, a window of a minute, fit into one datum."""

_MAX_POSITIONS = 10**9
"""Number of executions that are distinguished in the position of an extreme."""

_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")
_normal_quantile = NormalDist().inv_cdf


class _Point(NamedTuple):
    """A percentile of the distribution.

    `percentiles` are the reported one at or below it, its own, and the reported one at or above it;
    `low` and `high` are the names of the reported ones. `weight` is how far its value is from `low`
    to `high`; None if that depends on the number of executions, because one of them is an extreme.
    `until` is the share of executions up to half-way to the next point.
    """

    percentiles: tuple[float, float, float]
    low: str
    high: str
    weight: float | None
    until: float


class CompletedExecutions(NamedTuple):
    """Executions that one process completed in a period, with their latency percentiles (s)."""

    completed: float
    latency: NamedValues | None
    device_latency: NamedValues | None


def distributions(
    executions: Iterable[Iterable[CompletedExecutions]],
    percentiles: Callable[[CompletedExecutions], NamedValues | None],
) -> list[Distribution | None]:
    """Return the latency distribution (s) of the executions of each label set."""
    return [
        distribution((done.completed, percentiles(done)) for done in each) for each in executions
    ]


def distribution(runtimes: Iterable[tuple[float, NamedValues | None]]) -> Distribution | None:
    """Return pairs of a latency (s) and the number of executions that it stands for.

    `runtimes` are pairs of the executions that a runtime completed in the period and its
    percentiles ("p0" to "p100") in seconds. Return None if no runtime completed anything.
    """
    pairs: list[tuple[float, float]] = []
    for completed, percentiles in runtimes:
        total = round(completed)
        if total > 0 and percentiles:
            known = {name: value for name, value in percentiles.items() if value is not None}
            _add_pairs(pairs, known, total)
    return tuple(pairs) or None


def _add_pairs(pairs: list[tuple[float, float]], known: Mapping[str, float], total: int) -> None:
    """Append a latency and its number of executions for each point that stands for any.

    With numbers from 0 in the order of latency, execution i is at i / (total - 1); a single one is
    the median.
    """
    counted = 0
    last = total - 1
    for percentiles, low, high, weight, until in _points(tuple(known)):
        below = ceil(until * last) if last else round(until)
        reached = total if until == 1 else below
        if reached == counted:
            continue
        value = known[low]
        if low != high:
            if weight is None:
                weight = _extreme_weight(percentiles, min(total, _MAX_POSITIONS))
            value = _between(value, known[high], weight)
        pairs.append((value, float(reached - counted)))
        counted = reached


@lru_cache(maxsize=256)
def _points(names: tuple[str, ...]) -> tuple[_Point, ...]:
    """Return the points for these reported percentiles, in rising order.

    Names above 100, such as p999 for 99.9, are ignored, as their position is ambiguous.
    """
    reported = {
        float(match[1]): name
        for name in names
        if (match := _PERCENTILE.fullmatch(name)) and float(match[1]) <= 100
    }
    if not reported:
        return ()
    first, last = min(reported), max(reported)
    added = {each for each in INTERPOLATED if first < each < last}
    percentiles = sorted({*reported, *added})
    ends = [(low + high) / 200 for low, high in pairwise(percentiles)] + [1.0]
    points = []
    for at, until in zip(percentiles, ends, strict=True):
        low = max(each for each in reported if each <= at)
        high = min(each for each in reported if each >= at)
        weight: float | None = 0.0
        if low < high:
            inner = low > 0 and high < 100
            weight = _weight(low / 100, at / 100, high / 100) if inner else None
        points.append(_Point((low, at, high), reported[low], reported[high], weight, until))
    return tuple(points)


def _weight(low: float, at: float, high: float) -> float:
    """Return how far `at` is from `low` to `high`, which are shares of a normal distribution."""
    start = _normal_quantile(low)
    width = _normal_quantile(high) - start
    return (_normal_quantile(at) - start) / width if width else 0.0


@lru_cache(maxsize=1024)
def _extreme_weight(percentiles: tuple[float, float, float], positions: int) -> float:
    """Return the weight of a point beside an extreme of so many executions."""
    return _weight(*((each / 100 * (positions - 1) + 0.5) / positions for each in percentiles))


def _between(low: float, high: float, weight: float) -> float:
    if low == high:
        return low
    if low > 0 and high > 0:
        return float(low ** (1 - weight) * high**weight)
    return low + (high - low) * weight
