"""A fleet's requests are spread over time and arrive in order: real sinks, simulated time."""

from __future__ import annotations

import pytest

from neuron_exporter import log
from tests.support.otlp_fleet import MIDNIGHT, MINUTE, OtlpFleet

SIZE = 50
MEAN = SIZE / MINUTE
"""Requests a second, on average."""


@pytest.fixture(autouse=True)
def _silence() -> None:
    log.configure("critical")


def test_simultaneous_start_sends_evenly() -> None:
    fleet = OtlpFleet(SIZE)
    fleet.run(31)
    fleet.start()
    fleet.run(5 * MINUTE - 31)
    peak = fleet.peak_rate(MIDNIGHT, fleet.now)
    print(f"{MEAN:.1f} requests a second on average, {peak} at most")
    assert peak <= 7 * MEAN
    wanted = [MIDNIGHT + minute * MINUTE for minute in range(1, 5)]
    assert all(wanted[:3] == stamps[:3] for stamps in fleet.stamps)


def test_backlog_of_a_fleet_waits_for_its_quota() -> None:
    """After an outage the endpoint throttles the fleet. Each interval of each machine arrives once,
    in the order of time, and the backlog is gone soon after the quota allows it."""
    quota = 20
    fleet = OtlpFleet(SIZE, quota)
    fleet.start()
    fleet.run(2 * MINUTE)
    fleet.is_down = True
    fleet.run(10 * MINUTE)
    fleet.is_down = False
    fleet.run(10 * MINUTE)
    assert fleet.throttled > 0
    wanted = [MIDNIGHT + minute * MINUTE for minute in range(1, 21)]
    for stamps in fleet.stamps:
        assert stamps == sorted(set(stamps))
        assert stamps[: len(wanted)] == wanted
