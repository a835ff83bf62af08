"""Requests that the receiver would reject are dropped, but never under a wrong clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.spool import QUIET_SECONDS
from neuron_exporter.sinks.delivery.transport import AcceptedAges
from tests.support.spool_requests import DAY, HOUR, MINUTE, START, make_request
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools


@pytest.fixture(params=["disk", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> SpoolHarness:
    """A spool with and without a file."""
    return SpoolHarness(tmp_path / "spool.db" if request.param == "disk" else None)


def test_old_requests_are_dropped_under_confirmed_clock(harness: SpoolHarness) -> None:
    harness.add("a", "b")
    harness.spool.add(make_request("c", START + DAY))
    harness.spool.confirm_clock()
    harness.wait(14 * DAY + 0.5)
    assert harness.lost == {"too_old": 1}
    harness.spool._accepted = AcceptedAges(13.9 * DAY, 2 * HOUR)
    with capture_logs() as log:
        harness.wait(0)
    assert (harness.lost, log) == ({"too_old": 2}, [])  # logged before
    harness.wait(QUIET_SECONDS)
    harness.spool.add(make_request("d", START))
    with capture_logs() as log:
        harness.wait(0)
    assert [event["reason"] for event in log] == ["too_old"]


@pytest.mark.parametrize("wrong", [0.0, START - 5 * HOUR, START + 20 * DAY, START + 1000 * DAY])
def test_wrong_clock_drops_nothing(harness: SpoolHarness, wrong: float) -> None:
    harness.add("a", "b")
    harness.spool.confirm_clock()
    harness.wall = wrong
    for _ in range(100):
        harness.wait(HOUR / 100)
    assert harness.spool.take() is None
    harness.wall = START + HOUR
    harness.wait(0)
    assert harness.drain() == ["a", "b"]
    assert not harness.lost


def test_start_under_wrong_clock_drops_nothing(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.add("a")
    harness.spool.close()
    booted = SpoolHarness(tmp_path / "spool.db", wall=0.0)
    booted.wait(MINUTE)
    booted.spool.add(make_request("of 1970", 30))
    booted.wait(MINUTE)
    assert not booted.lost
    booted.wall = START + HOUR
    booted.wait(0)
    assert booted.drain() == ["a"]
    booted.spool.confirm_clock()
    booted.wait(0)
    assert booted.lost == {"too_old": 1}


def test_future_stamps_are_dropped_under_confirmed_clock(harness: SpoolHarness) -> None:
    harness.spool.add(make_request("of 2040", START + 5000 * DAY))
    harness.wait(DAY)
    assert not harness.lost
    harness.spool.confirm_clock()
    harness.wait(MINUTE)
    assert harness.lost == {"too_far_ahead": 1}
