"""Period of reports and of their groups, and how long a report may be shown."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.model import SourceState
from neuron_exporter.report import Report
from tests.support.reports import Harness, cores, decode_document, group, report, runtime


def covering(period: float | None = None, **groups: float) -> Report:
    """Return a report whose groups have these periods (s); the first one is of `memory_info`."""
    periods = {**({} if period is None else {"memory_info": period}), **groups}
    sections = {name: group(period=each) for name, each in periods.items()}
    return decode_document(report(system_data=sections))


def worker(pid: int, period: float) -> dict[str, Any]:
    """Return a runtime whose only group has this period (s)."""
    return runtime(pid, neuroncore_counters={**cores(_0=1), "period": period})


class Stream:
    """A stream of reports, each of which arrives when its period is over."""

    def __init__(self, configured: float | None = None) -> None:
        self.period = ReportPeriod(configured)
        self._now = 0.0

    def read(self, *reports: Report, after: float | None = None) -> float:
        """Read reports, each `after` seconds, and return the result of the last."""
        for each in reports:
            info = each.system_data.memory_info if each.system_data else None
            self._now += after if after is not None else (info and info.period) or 1.0
            interval = self.period.observe(each, self._now)
        return interval


def test_configured_period_yields_to_observed_one() -> None:
    stream = Stream(10)
    for covers, expected in ((0.01, 10), (5, 10), (5, 10), (5, 5), (5, 5)):
        stream.read(covering(covers))
        assert stream.period.seconds == expected


def test_median_counts_at_once_without_configured_period() -> None:
    stream = Stream()
    for covers, expected in ((5, 5), (6, 5), (6, 6), (6, 6)):
        stream.read(covering(covers))
        assert stream.period.seconds == expected


def test_start_up_report_shows_no_period() -> None:
    """It may be shown for 75 s, as the next report may follow after a minute."""
    stream = Stream()
    assert stream.read(covering(0.07)) == 0.07
    assert (stream.period.seconds, stream.period.fresh_for) == (0, 75)
    assert stream.read(covering(30)) == 30
    assert (stream.period.seconds, stream.period.fresh_for) == (30, 90)
    stream.read(covering(0.07))
    assert (stream.period.seconds, stream.period.fresh_for) == (30, 90)


def test_longer_period_counts_at_once() -> None:
    stream = Stream()
    stream.read(*[covering(1)] * 20, covering(60))
    assert stream.period.fresh_for == 180
    stream.read(*[covering(60)] * 2)
    assert stream.period.seconds == 60


def test_shorter_period_counts_with_the_third_report() -> None:
    stream = Stream()
    stream.read(*[covering(60)] * 20, *[covering(1)] * 3)
    assert (stream.period.seconds, stream.period.fresh_for) == (1, 15)


@pytest.mark.parametrize("period", [1e9, 3600.1])
@pytest.mark.parametrize("earlier", [[], [5.0]])
def test_absurd_period_is_capped(earlier: list[float], period: float) -> None:
    stream = Stream()
    stream.read(*map(covering, earlier), covering(period))
    assert stream.period.fresh_for == 3 * 3600


def test_reports_without_periods_keep_the_period() -> None:
    stream = Stream()
    assert stream.read(decode_document(report())) == 0
    stream.read(covering(30))
    assert stream.read(decode_document(report())) == 30
    assert (stream.period.seconds, stream.period.fresh_for) == (30, 90)


def test_period_of_runtimes_counts_without_machine_groups() -> None:
    stream = Stream()
    one = decode_document(report(worker(1, 2), worker(2, 5)))
    assert stream.read(one) == 5
    assert stream.period.seconds == 5


def test_new_runtime_covers_less_than_the_period() -> None:
    """A stream with a new runtime in each report has still one period."""
    stream = Stream()
    stream.read(decode_document(report(worker(1, 5))))
    for pid in range(2, 30):
        document = report(worker(pid, 2.5), system_data={"memory_info": group(period=5)})
        assert stream.read(decode_document(document)) == 5
    assert stream.period.longest_kept == 0


def test_first_runtime_covers_less_than_the_period() -> None:
    stream = Stream()
    stream.read(covering(0.07), covering(30))
    document = report(worker(1, 2), system_data={"memory_info": group(period=30)})
    assert stream.read(decode_document(document)) == 30
    assert (stream.period.seconds, stream.period.fresh_for) == (30, 90)
    assert stream.period.longest_kept == 0


@pytest.mark.parametrize("not_due", [{"neuron_runtime_data": None}, {}])
def test_runtime_stays_known_while_it_is_not_due(not_due: dict[str, Any]) -> None:
    """The first reading covers less than the period; the later ones show it."""
    stream = Stream()
    every_second = {"system_data": {"vcpu_usage": group(period=1)}}
    between = decode_document({**every_second, **not_due})
    stream.read(decode_document(report(worker(1, 1.2), **every_second)))
    for _ in range(3):
        stream.read(*[between] * 4, decode_document(report(worker(1, 5), **every_second)), after=1)
    assert stream.period.kept_for("neuroncore_counters") == 15


def test_shortest_period_is_that_of_the_stream() -> None:
    stream = Stream()
    for second in range(1, 11):
        periods = {name: every for name, every in PERIODS.items() if second % every == 0}
        assert stream.read(covering(**periods), after=1) == 1
    assert stream.period.seconds == 1
    assert stream.period.fresh_for == 15
    assert [stream.period.kept_for(name) for name in PERIODS] == [0, 6, 15]


PERIODS = {"vcpu_usage": 1, "neuron_hw_counters": 2, "memory_info": 5}


def test_group_that_is_gone_is_forgotten() -> None:
    """Another neuron-monitor in the same pipe may be configured otherwise."""
    stream = Stream()
    stream.read(*[covering(vcpu_usage=1.0)] * 9, covering(60), covering(60))
    assert (stream.period.seconds, stream.period.fresh_for) == (60, 180)


@pytest.mark.parametrize("configured", [None, 5.0])
def test_groups_with_one_period_are_never_kept(configured: float | None) -> None:
    stream = Stream(configured)
    stream.read(*[covering(5.001, vcpu_usage=4.999, neuron_hw_counters=5.3)] * 9)
    assert stream.period.longest_kept == 0


def test_groups_of_our_own_child_are_never_kept() -> None:
    stream = Stream(5)
    stream.read(*[covering(5, vcpu_usage=1)] * 9)
    assert stream.period.longest_kept == 0


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
