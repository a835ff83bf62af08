"""The limit on series of runtimes that exited."""

from __future__ import annotations

from neuron_exporter.metrics.counters import MAX_RETIRED_SERIES
from neuron_exporter.metrics.runtimes import MAX_RUNTIMES
from tests.support.reports import Harness, Samples, executions, report, runtime


def test_series_of_exited_runtimes_are_limited() -> None:
    """The oldest are evicted and counted, and the machine's totals keep their executions."""
    harness = Harness()
    harness.now = 0
    evicted = 0
    for batch in range(6):
        workers = [
            runtime(1, f"{batch}-{n}", execution_stats=executions(1)) for n in range(MAX_RUNTIMES)
        ]
        harness.now -= 5  # all of it within the ten minutes for which they are kept
        collected = harness.collect(report(*workers))
        evicted += collected.series_evicted
    samples = Samples(collected.snapshot)
    statuses, errors = (samples.values(f"execution_{name}_total") for name in ("status", "errors"))
    series, tags = len(statuses) + len(errors), {tag for tag, _ in statuses}
    of_each = series // len(tags)
    assert series - MAX_RUNTIMES * of_each <= MAX_RETIRED_SERIES
    assert evicted + series == 6 * MAX_RUNTIMES * of_each
    assert samples.value("neuron_executions_total", "completed") == 6 * MAX_RUNTIMES
    assert {f"5-{n}" for n in range(MAX_RUNTIMES)} <= tags
    assert f"4-{MAX_RUNTIMES - 1}" in tags
    assert "4-0" not in tags
