"""A fleet asks for little more at its worst moment than on average: real sinks, simulated time."""

from __future__ import annotations

import pytest

from neuron_exporter import log
from neuron_exporter.sinks.cloudwatch.sink import MOST_RESENT
from tests.support.exporters import MIDNIGHT, MINUTE, Fleet

SIZE = 1000
QUOTA = 500
"""Requests a second that PutMetricData takes in one account and region."""

MEAN = SIZE / MINUTE


@pytest.fixture(autouse=True)
def _silence() -> None:
    log.configure("critical")


def told(what: str, fleet: Fleet, since: float, until: float) -> float:
    """The peak of any second, printed beside the mean."""
    peak, mean = fleet.peak(since, until), fleet.mean(since, until)
    calm = fleet.peak(since, until, 5.0)
    print(f"{what}: {mean:.1f} requests a second, {peak:.0f} at most, {calm:.1f} over any 5 s")
    return peak


@pytest.mark.parametrize("second", [0.0, 31.0, 59.5])
def test_a_fleet_that_starts_at_once_sends_evenly(second: float) -> None:
    """Whenever in a minute a thousand exporters start, no second has twice the mean; every window
    begins with a minute, and every minute has a datum of every machine."""
    fleet = Fleet(SIZE)
    fleet.run(second)
    fleet.start()
    fleet.run(4 * MINUTE - second)
    settled = MIDNIGHT + 2 * MINUTE
    assert told("a fleet", fleet, settled, fleet.now) <= 2 * MEAN
    assert fleet.peak(MIDNIGHT, fleet.now) <= 2 * MEAN
    assert fleet.mean(settled, fleet.now) == pytest.approx(MEAN)
    assert all(stamp % MINUTE == 0 for stamp in fleet.stamps())
    begun = MIDNIGHT + (MINUTE if second > 50 else 0.0)
    assert fleet.unknown(begun, fleet.now - MINUTE) == 0


@pytest.mark.parametrize("second", [3.0, 11.0, 40.0])
def test_a_fleet_that_restarts_at_once_stays_under_the_quota(second: float) -> None:
    """The last flush of a thousand machines is under the quota, what follows is as even as ever,
    and every minute has one heartbeat of each."""
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(2 * MINUTE + second)
    stopped = fleet.now
    fleet.stop()
    fleet.run(8)
    fleet.start()
    fleet.run(3 * MINUTE - second - 8)
    assert told("a stop", fleet, stopped, stopped + 8) < QUOTA
    assert fleet.throttled == 0
    assert fleet.peak(stopped + 8, fleet.now) <= 2 * MEAN
    assert fleet.unknown(MIDNIGHT, fleet.now - MINUTE) == 0
    assert fleet.beats(MIDNIGHT, fleet.now - MINUTE).keys() == {1}


def test_a_restart_over_the_end_of_a_minute_costs_that_heartbeat_at_most() -> None:
    """Who stops before a minute is over and starts after it leaves that minute's readings, but
    cannot say that it lived to the end."""
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(3 * MINUTE - 9)
    fleet.stop()
    fleet.run(12)
    fleet.start()
    fleet.run(3 * MINUTE - 3)
    assert fleet.throttled == 0
    assert fleet.unknown(MIDNIGHT, fleet.now - MINUTE) == 0
    assert fleet.beats(MIDNIGHT + 2 * MINUTE, MIDNIGHT + 3 * MINUTE) == {0: SIZE}
    for since, until in ((0, 2), (3, 5)):
        assert fleet.beats(MIDNIGHT + since * MINUTE, MIDNIGHT + until * MINUTE).keys() == {1}


@pytest.mark.parametrize("minutes", [12, pytest.param(60, marks=pytest.mark.soak)])
def test_an_outage_makes_no_stampede(minutes: int) -> None:
    """When the endpoint is back a thousand machines with full queues stay under the quota, and
    send every minute that it missed."""
    fleet = Fleet(SIZE, QUOTA)
    fleet.start()
    fleet.run(2 * MINUTE)
    fleet.is_down = True
    fleet.run(minutes * MINUTE)
    fleet.is_down = False
    back = fleet.now
    fleet.run((minutes / 10 + 2) * MINUTE)
    assert told(f"after {minutes} min", fleet, back, back + MINUTE) < QUOTA
    assert fleet.mean(back, back + MINUTE) == pytest.approx((1 + MOST_RESENT) * MEAN)
    assert fleet.throttled == 0
    assert fleet.unknown(MIDNIGHT, back) == 0


@pytest.mark.soak
def test_an_account_has_room_for_ten_thousand() -> None:
    """Ten thousand machines that start at once stay under one account's quota."""
    fleet = Fleet(10_000, QUOTA)
    fleet.start()
    fleet.run(4 * MINUTE)
    assert told("10,000 machines", fleet, MIDNIGHT + 2 * MINUTE, fleet.now) < QUOTA
    assert fleet.throttled == 0
    assert fleet.unknown(MIDNIGHT, fleet.now - MINUTE) == 0
