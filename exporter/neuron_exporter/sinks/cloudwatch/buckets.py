"""Logarithmic buckets, which bound the number of different values of a distribution."""

from __future__ import annotations

from collections import Counter
from math import inf, log
from typing import Any

from neuron_exporter.model import Distribution

RELATIVE_ERROR = 0.005
"""Width of a bucket: each percentile is within this of the exact one."""

_SCALE = 1 / log(1 + RELATIVE_ERROR)
_OFFSET = 200_000  # makes the bucket of every float positive, so that int() rounds down
_NOT_POSITIVE = 0


class LogarithmicBuckets:
    """Distribution that keeps the mean and the number of the readings in each bucket.

    Minimum, maximum, number of readings and sum are exact; so is a value alone in its bucket.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[float]] = {}
        self._min, self._max = inf, -inf

    def add(self, distribution: Distribution) -> None:
        """Add values with their numbers of occurrences."""
        buckets, low, high = self._buckets, self._min, self._max
        for value, count in distribution:
            bucket = int(log(value) * _SCALE + _OFFSET) if value > 0 else _NOT_POSITIVE
            if bucket in buckets:
                known = buckets[bucket]
                known[1] = total = known[1] + count
                known[0] += (value - known[0]) * (count / total)
            else:
                buckets[bucket] = [value, count]
            if value < low:
                low = value
            if value > high:
                high = value
        self._min, self._max = low, high

    def value_counts(self) -> Counter[Any]:
        """Return both extremes and the means of the other readings, with their occurrences."""
        counts = Counter[Any]()
        rest: dict[int, list[Any]] = dict(self._buckets)
        for bucket, extreme in ((min(rest), self._min), (max(rest), self._max)) if rest else ():
            mean, count = rest.pop(bucket, [extreme, 0.0])
            if count:
                counts[extreme] += 1
            if count > 1:
                mean += (mean - extreme) / (count - 1)
                rest[bucket] = [min(max(mean, self._min), self._max), count - 1]
        for mean, count in rest.values():
            counts[mean] += count
        return counts
