"""Age drops what CloudWatch would refuse, and a wrong clock drops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.spool import QUIET
from tests.support.entries import DAY, HOUR, MINUTE, START, entry
from tests.support.spools import Shelf
from tests.support.spools import closed as closed


@pytest.fixture(params=["disk", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """A spool with and without a file."""
    return Shelf(tmp_path / "spool.db" if request.param == "disk" else None)


def test_what_is_too_old_is_dropped(shelf: Shelf) -> None:
    """Under a clock that CloudWatch confirmed, age drops what would be refused, and counts it."""
    shelf.add("a", "b")
    shelf.spool.add(entry("c", START + DAY))
    shelf.spool.confirm_clock()
    shelf.wait(14 * DAY + 0.5)
    assert shelf.lost == {"too_old": 1}
    shelf.spool._max_age = 13.9 * DAY
    with capture_logs() as said:
        shelf.wait(0)
    assert (shelf.lost, said) == ({"too_old": 2}, [])  # it had been said
    shelf.wait(QUIET)
    shelf.spool.add(entry("d", START))
    with capture_logs() as said:
        shelf.wait(0)
    assert [event["reason"] for event in said] == ["too_old"]


@pytest.mark.parametrize("wrong", [0.0, START - 5 * HOUR, START + 20 * DAY, START + 1000 * DAY])
def test_a_wrong_clock_drops_nothing(shelf: Shelf, wrong: float) -> None:
    """While the clock is wrong what was kept waits; once it is right, it is sent."""
    shelf.add("a", "b")
    shelf.spool.confirm_clock()
    shelf.wall = wrong
    for _ in range(100):
        shelf.wait(HOUR / 100)
    assert shelf.spool.next() is None
    shelf.wall = START + HOUR
    shelf.wait(0)
    assert shelf.names() == ["a", "b"]
    assert not shelf.lost


def test_a_start_under_a_wrong_clock_drops_nothing(tmp_path: Path) -> None:
    """A machine that boots in 1970 keeps what it finds, and drops what it stamped itself then."""
    shelf = Shelf(tmp_path / "spool.db")
    shelf.add("a")
    shelf.spool.close()
    booted = Shelf(tmp_path / "spool.db", wall=0.0)
    booted.wait(MINUTE)
    booted.spool.add(entry("of 1970", 30))
    booted.wait(MINUTE)
    assert not booted.lost
    booted.wall = START + HOUR
    booted.wait(0)
    assert booted.names() == ["a"]
    booted.spool.confirm_clock()
    booted.wait(0)
    assert booted.lost == {"too_old": 1}


def test_what_a_wrong_clock_stamped_ahead_is_dropped(shelf: Shelf) -> None:
    """Requests from a future that never was do not stay for ever."""
    shelf.spool.add(entry("of 2040", START + 5000 * DAY))
    shelf.wait(DAY)
    assert not shelf.lost
    shelf.spool.confirm_clock()
    shelf.wait(MINUTE)
    assert shelf.lost == {"too_far_ahead": 1}
