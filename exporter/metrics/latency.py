"""From percentiles to a distribution, so that the latencies of several runtimes can be pooled.

neuron-monitor gives percentiles without the sum that would let them be added. Each percentile is
taken to stand for the executions around it, up to half-way to its neighbours, and gets that share
of what the runtime completed. Percentiles of the pooled distribution are then near to the truth;
its sum, and so its average, is an approximation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from exporter.metrics.counters import Readings
from exporter.model import Distribution

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
        known = sorted(
            (float(match[1]), value)
            for name, value in (percentiles or {}).items()
            if value is not None and (match := _PERCENTILE.fullmatch(name))
        )
        counts = _apportion(round(completed), [percentile for percentile, _ in known])
        pairs += [
            (value, float(count)) for (_, value), count in zip(known, counts, strict=True) if count
        ]
    return tuple(pairs) or None


def _apportion(total: int, percentiles: list[float]) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to what each percentile stands for.

    The two ends get one each beforehand, so that the extremes survive in small totals.
    """
    if not percentiles or total <= 0:
        return [0] * len(percentiles)
    middles = [(low + high) / 2 for low, high in pairwise(percentiles)]
    widths = [high - low for low, high in pairwise([0.0, *middles, 100.0])]
    counts = [0] * len(widths)
    if total >= 2 and len(widths) >= 2:
        counts[0] = counts[-1] = 1
    rest = total - sum(counts)
    shares = [rest * width / 100 for width in widths]
    whole = [int(share) for share in shares]
    remainders = sorted(range(len(shares)), key=lambda at: whole[at] - shares[at])
    for at in remainders[: rest - sum(whole)]:
        whole[at] += 1
    return [own + more for own, more in zip(counts, whole, strict=True)]
