"""A fleet's peak request rate is close to its average: real sinks, simulated time."""

from __future__ import annotations

import pytest

from neuron_exporter import log
from neuron_exporter.sinks.cloudwatch.sink import MAX_RESENT
from tests.support.cloudwatch_fleet import MIDNIGHT, MINUTE, Fleet

SIZE = 1000
QUOTA = 500
"""PutMetricData requests per second that an account has in a region."""

MEAN = SIZE / MINUTE


@pytest.fixture(autouse=True)
def _silence() -> None:
    log.configure("critical")


def print_rates(label: str, fleet: Fleet, since: float, until: float) -> float:
    """Print the rates of a period; return the peak of any second."""
    peak, mean = fleet.peak_rate(since, until), fleet.mean_rate(since, until)
    calm = fleet.peak_rate(since, until, 5.0)
    print(f"{label}: {mean:.1f} requests a second, {peak:.0f} at most, {calm:.1f} over any 5 s")
    return peak


@pytest.mark.parametrize("second", [0.0, 31.0, 59.5])
def test_simultaneous_start_sends_evenly(second: float) -> None:
    fleet = Fleet(SIZE)
    fleet.run(second)
    fleet.start()
    fleet.run(4 * MINUTE - second)
    settled = MIDNIGHT + 2 * MINUTE
    assert print_rates("a fleet", fleet, settled, fleet.now) <= 2 * MEAN
    assert fleet.peak_rate(MIDNIGHT, fleet.now) <= 2 * MEAN
    assert fleet.mean_rate(settled, fleet.now) == pytest.approx(MEAN)
    assert all(timestamp % MINUTE == 0 for timestamp in fleet.timestamps())
    begun = MIDNIGHT + (MINUTE if second > 50 else 0.0)
    assert fleet.missing_minutes(begun, fleet.now - MINUTE) == 0


@pytest.mark.parametrize("second", [3.0, 11.0, 40.0])
def test_simultaneous_restart_stays_under_quota(second: float) -> None:
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(2 * MINUTE + second)
    stopped = fleet.now
    fleet.stop()
    fleet.run(8)
    fleet.start()
    fleet.run(3 * MINUTE - second - 8)
    assert print_rates("a stop", fleet, stopped, stopped + 8) < QUOTA
    assert fleet.throttled == 0
    assert fleet.peak_rate(stopped + 8, fleet.now) <= 2 * MEAN
    assert fleet.missing_minutes(MIDNIGHT, fleet.now - MINUTE) == 0
    assert fleet.heartbeats(MIDNIGHT, fleet.now - MINUTE).keys() == {1}


def test_restart_across_a_minute_costs_one_heartbeat() -> None:
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(3 * MINUTE - 9)
    fleet.stop()
    fleet.run(12)
    fleet.start()
    fleet.run(3 * MINUTE - 3)
    assert fleet.throttled == 0
    assert fleet.missing_minutes(MIDNIGHT, fleet.now - MINUTE) == 0
    assert fleet.heartbeats(MIDNIGHT + 2 * MINUTE, MIDNIGHT + 3 * MINUTE) == {0: SIZE}
    for since, until in ((0, 2), (3, 5)):
        assert fleet.heartbeats(MIDNIGHT + since * MINUTE, MIDNIGHT + until * MINUTE).keys() == {1}


@pytest.mark.parametrize("minutes", [12, pytest.param(60, marks=pytest.mark.soak)])
def test_outage_causes_no_stampede(minutes: int) -> None:
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(2 * MINUTE)
    fleet.is_down = True
    fleet.run(minutes * MINUTE)
    fleet.is_down = False
    back = fleet.now
    fleet.run((minutes / 10 + 2) * MINUTE)
    assert print_rates(f"after {minutes} min", fleet, back, back + MINUTE) < QUOTA
    assert fleet.mean_rate(back, back + MINUTE) == pytest.approx((1 + MAX_RESENT) * MEAN)
    assert fleet.throttled == 0
    assert fleet.missing_minutes(MIDNIGHT, back) == 0


@pytest.mark.soak
def test_ten_thousand_machines_stay_under_quota() -> None:
    fleet = Fleet(10_000, QUOTA)
    fleet.start()
    fleet.run(4 * MINUTE)
    assert print_rates("10,000 machines", fleet, MIDNIGHT + 2 * MINUTE, fleet.now) < QUOTA
    assert fleet.throttled == 0
    assert fleet.missing_minutes(MIDNIGHT, fleet.now - MINUTE) == 0
