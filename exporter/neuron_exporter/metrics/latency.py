"""From percentiles to a distribution, so that the latencies of several runtimes can be pooled.

neuron-monitor gives percentiles without the sum that would let them be added. Each percentile is
taken to stand for the executions around it, up to half-way to its neighbours, and gets that share
of what the runtime completed. Percentiles of the pooled distribution are then near to the truth;
its sum, and so its average, is an approximation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from neuron_exporter.metrics.counters import Readings
from neuron_exporter.model import Distribution

_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


def distribution(runtimes: Iterable[tuple[float, Readings | None]]) -> Distribution | None:
    """Pairs of a latency (s) and how many executions took it.

    Args:
        runtimes: what each runtime completed in the period, and its percentiles ("p0" to "p100").

    Returns:
        None when no runtime completed anything.
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
    """The percentiles among the names in rising order, and the share of 1 that each stands for.

    A number above 100, as in p999 for 99.9, is none that could be placed among the others.
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
    """Whole numbers that sum to `total`, in proportion to the widths.

    The two ends get one each beforehand, so that the extremes survive in small totals.
    """
    if not widths:
        return []
    ends = 1 if total >= 2 and len(widths) >= 2 else 0
    rest = total - 2 * ends
    shares = [rest * width for width in widths]
    counts = [int(share) for share in shares]
    left = rest - sum(counts)
    if left:
        remainders = sorted(range(len(shares)), key=lambda at: counts[at] - shares[at])
        for at in remainders[:left]:
            counts[at] += 1
    counts[0] += ends
    counts[-1] += ends
    return counts
