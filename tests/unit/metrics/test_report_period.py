"""Period of reports, and how long a report may be shown."""

from __future__ import annotations

import pytest

from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.model import SourceState
from tests.support.reports import Harness, cores, decode_document, group, report, runtime


def covering(period: float) -> object:
    """Return a report with groups of this period (s)."""
    return decode_document(report(system_data={"memory_info": group(period=period)}))


def test_configured_period_yields_to_observed_one() -> None:
    period = ReportPeriod(10)
    for covers, expected in ((0.01, 10), (5, 10), (5, 5), (5, 5)):
        period.observe(covering(covers))  # type: ignore[arg-type]
        assert period.seconds == expected


def test_median_counts_at_once_without_configured_period() -> None:
    period = ReportPeriod(None)
    for covers, expected in ((0.01, 0.01), (5, 0.01), (5, 5), (6, 5), (6, 5)):
        period.observe(covering(covers))  # type: ignore[arg-type]
        assert period.seconds == expected


def test_reports_without_periods_keep_the_period() -> None:
    period = ReportPeriod(5)
    assert period.observe(decode_document(report())) == 0
    assert period.seconds == 5


def test_period_of_runtimes_counts_without_machine_groups() -> None:
    period = ReportPeriod(None)
    assert period.observe(decode_document(report(runtime(neuroncore_counters=cores(_0=1))))) == 5


@pytest.mark.parametrize(
    ("configured", "fresh"), [(1, 15), (5, 15), (10, 30), (60, 180), (None, 15)]
)
def test_report_is_fresh_for_three_periods_or_15_seconds(
    configured: float | None, fresh: float
) -> None:
    assert ReportPeriod(configured).fresh_for == fresh


def test_stale_snapshot_has_no_series() -> None:
    snapshot = Harness(period=5).collect(report(runtime(neuroncore_counters=cores(_0=1)))).snapshot
    taken = snapshot.taken_at.monotonic
    assert snapshot.as_of(taken + 15) is snapshot
    stale = snapshot.as_of(taken + 15.1)
    assert stale.shape == stale.values == ()
    assert stale.health.state is SourceState.STALLED
    assert not stale.health.alive
