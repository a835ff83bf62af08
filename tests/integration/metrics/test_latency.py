"""The errors of pooled latencies that docs/cloudwatch.md states."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest

from neuron_exporter.sinks.cloudwatch.buckets import LogarithmicBuckets
from tests.support.documents import table
from tests.support.latencies import DISTRIBUTIONS, errors, from_percentiles, simulate_report


@pytest.mark.parametrize("form", DISTRIBUTIONS)
def test_documented_errors(form: str) -> None:
    """The largest errors in thirty windows, with those of the buckets, are those of
    docs/cloudwatch.md."""
    random = Random(1)
    largest: dict[str, float] = defaultdict(float)
    for _ in range(30):
        buckets = LogarithmicBuckets()
        latencies: list[float] = []
        for _ in range(12):
            exact, percentiles = simulate_report(DISTRIBUTIONS[form], random)
            latencies += exact
            buckets.add(from_percentiles(len(exact), percentiles))
        for name, error in errors(buckets.value_counts(), latencies).items():
            largest[name] = max(largest[name], abs(error))
    documented = {row[0]: row[1:] for row in table("docs/cloudwatch.md", "| p50 | p90 |")}
    stated = [float(cell.removesuffix(" %")) for cell in documented[form]]
    measured = [100 * largest[name] for name in ("p50", "p90", "p95", "p99", "Average")]
    assert stated == pytest.approx(measured, abs=0.1)
