"""How long a report lives."""

from __future__ import annotations

import pytest

from neuron_exporter.metrics.report_period import Period
from neuron_exporter.model import SourceState
from tests.support.reports import Bench, cores, decoded, group, report, runtime


def covering(period: float) -> object:
    """A report whose groups cover so many seconds."""
    return decoded(report(system_data={"memory_info": group(period=period)}))


def test_a_configured_period_holds_until_the_stream_shows_another() -> None:
    """A short first report does not change the period; a source that keeps another does."""
    period = Period(10)
    for covers, wanted in ((0.01, 10), (5, 10), (5, 5), (5, 5)):
        period.observe(covering(covers))  # type: ignore[arg-type]
        assert period.seconds == wanted


def test_without_a_configured_period_the_median_counts_from_the_first_report() -> None:
    """Standard input and files have only what their reports say."""
    period = Period(None)
    for covers, wanted in ((0.01, 0.01), (5, 0.01), (5, 5), (6, 5), (6, 5)):
        period.observe(covering(covers))  # type: ignore[arg-type]
        assert period.seconds == wanted


def test_reports_without_periods_keep_the_period() -> None:
    """A report that does not tell what it covers changes nothing."""
    period = Period(5)
    assert period.observe(decoded(report())) == 0
    assert period.seconds == 5


def test_runtimes_tell_the_period_where_the_machine_does_not() -> None:
    """With only runtime groups selected, their periods count."""
    period = Period(None)
    assert period.observe(decoded(report(runtime(neuroncore_counters=cores(_0=1))))) == 5


@pytest.mark.parametrize(
    ("configured", "fresh"), [(1, 15), (5, 15), (10, 30), (60, 180), (None, 15)]
)
def test_a_report_lives_for_three_periods_and_at_least_15_seconds(
    configured: float | None, fresh: float
) -> None:
    """When the last report is older than that, no hardware series is shown."""
    assert Period(configured).fresh_for == fresh


def test_a_stale_snapshot_has_no_series() -> None:
    """An old report is not shown as if it were news, to the second."""
    snapshot = Bench(period=5).collect(report(runtime(neuroncore_counters=cores(_0=1)))).snapshot
    taken = snapshot.taken_at.monotonic
    assert snapshot.at(taken + 15) is snapshot
    stale = snapshot.at(taken + 15.1)
    assert stale.shape == stale.values == ()
    assert stale.health.state is SourceState.STALLED
    assert not stale.health.alive
