"""Converts latency percentiles into distributions, which can be pooled over runtimes.

neuron-monitor reports percentiles without the sum that would make them additive. Each percentile
stands for the executions around it, up to half-way to its neighbours, and is weighted with that
share of the completed executions. Percentiles of the pooled distribution are then close to the
true ones; its sum, and so its average, is an approximation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from neuron_exporter.metrics.counters import NamedValues
from neuron_exporter.model import Distribution

_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


def distribution(runtimes: Iterable[tuple[float, NamedValues | None]]) -> Distribution | None:
    """Return pairs of a latency (s) and the number of executions that it stands for.

    `runtimes` are pairs of the executions that a runtime completed in the period and its
    percentiles ("p0" to "p100") in seconds. Return None if no runtime completed anything.
    """
    pairs: list[tuple[float, float]] = []
    for completed, percentiles in runtimes:
        total = round(completed)
        if total and percentiles:
            known = {name: value for name, value in percentiles.items() if value is not None}
            names, widths = _widths(tuple(known))
            pairs += [
                (known[name], float(count))
                for name, count in zip(names, _apportion(total, widths), strict=True)
                if count
            ]
    return tuple(pairs) or None


@lru_cache(maxsize=256)
def _widths(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the percentiles in rising order, and the share of executions each stands for.

    Names above 100, such as p999 for 99.9, are ignored, as their position is ambiguous.
    """
    known = sorted(
        (float(match[1]), name)
        for name in names
        if (match := _PERCENTILE.fullmatch(name)) and float(match[1]) <= 100
    )
    middles = [(low + high) / 2 for (low, _), (high, _) in pairwise(known)]
    widths = tuple((high - low) / 100 for low, high in pairwise([0.0, *middles, 100.0]))
    return tuple(name for _, name in known), widths if known else ()


def _apportion(total: int, widths: tuple[float, ...]) -> list[int]:
    """Return integers that sum to `total` and are proportional to the widths.

    The first and the last get one in advance, so that extremes survive in small totals.
    """
    if not widths:
        return []
    ends = 1 if total >= 2 and len(widths) >= 2 else 0
    remaining = total - 2 * ends
    shares = [remaining * width for width in widths]
    counts = [int(share) for share in shares]
    left = remaining - sum(counts)
    if left:
        remainders = sorted(range(len(shares)), key=lambda index: counts[index] - shares[index])
        for index in remainders[:left]:
            counts[index] += 1
    counts[0] += ends
    counts[-1] += ends
    return counts
