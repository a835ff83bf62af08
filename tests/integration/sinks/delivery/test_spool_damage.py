"""A damaged, deleted or replaced file costs only the unreadable requests."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.disk import MAX_DELAY, MIN_DELAY
from neuron_exporter.sinks.delivery.spool.paths import MAX_QUARANTINED
from tests.support.spool_requests import MIB, START, make_request
from tests.support.spools import (
    PAGE,
    SpoolHarness,
    assert_quarantined,
    filled_spool,
    overwrite,
)
from tests.support.spools import close_spools as close_spools


def newer(path: Path) -> None:
    """Give the file a later schema version."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def foreign(path: Path) -> None:
    """Replace the file by another program's database."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def write_at(path: Path, start: int, content: bytes) -> None:
    """Overwrite some bytes."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


BROKEN: dict[str, Callable[[Path], object]] = {
    "header": lambda path: overwrite(path, 0, 100),
    "first pages": lambda path: overwrite(path, 100),
    "file format": lambda path: write_at(path, 44, bytes((0, 0, 0, 9))),
    "no database": lambda path: path.write_text("hello " * 1000),
    "truncated": lambda path: os.truncate(path, 4 * PAGE),
    "newer": newer,
    "foreign": foreign,
}


@pytest.mark.parametrize("how", BROKEN)
def test_unusable_file_is_quarantined(tmp_path: Path, how: str) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    BROKEN[how](path)
    assert_quarantined(path, "foreign" if how in ("newer", "foreign") else "corrupt")


def test_old_quarantined_files_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    for number in range(5):
        path.write_text(f"garbage {number}")
        harness = SpoolHarness(path, wall=START + number)
        harness.spool.maintain()
        harness.spool.close()
    quarantined = sorted(tmp_path.glob("*.corrupt-*"))
    assert [each.read_text() for each in quarantined] == ["garbage 3", "garbage 4"]
    assert len(quarantined) == MAX_QUARANTINED


def test_planted_folder_does_not_prevent_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    for number in range(4):
        (tmp_path / f"spool.db.corrupt-{number}").mkdir()
    path.write_text("garbage")
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.spool.state == "disk"


def test_empty_file_is_initialized(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.touch()
    harness = filled_spool(path)
    with capture_logs() as log:
        harness.spool.maintain()
    assert (harness.spool.state, log) == ("disk", [])
    assert harness.drain() == ["0", "1", "2"]
    assert list(tmp_path.glob("spool.db.*")) == []


def test_readable_requests_are_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path, 1000).spool.close()
    overwrite(path, path.stat().st_size // 2, 20 * PAGE)
    harness = SpoolHarness(path, 16 * MIB)
    with capture_logs() as log:
        harness.spool.maintain()
        names = harness.drain()
    assert 900 < len(names) < 1000
    assert {"0", "999"} < set(names)
    assert len(names) + harness.lost["corrupt"] == 1000
    assert set(harness.lost) == {"corrupt"}
    assert "spool_requests_dropped" in [event["event"] for event in log]
    harness.wait(MAX_DELAY)
    assert harness.spool.state == "disk"
    harness.add("a")
    assert harness.drain() == ["a"]


def test_damage_does_not_cost_new_requests(tmp_path: Path) -> None:
    """A request is not added to a table that is known to be damaged."""
    path = tmp_path / "spool.db"
    filled_spool(path, 1000).spool.close()
    overwrite(path, 10 * PAGE, path.stat().st_size - 10 * PAGE)
    harness = SpoolHarness(path, 16 * MIB)
    harness.add("a")
    assert "a" in harness.drain()


def test_damage_keeps_requests_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path, 1000).spool.close()
    harness = SpoolHarness(path, 16 * MIB)
    one = harness.spool.add_in_flight(make_request("one", START + 5000))
    two = harness.spool.add_in_flight(make_request("two", START + 5001))
    harness.spool._disk._file.store._shorten_log()
    overwrite(path, PAGE, path.stat().st_size - 2 * PAGE)
    names = harness.drain()
    harness.spool.discard(one)
    harness.spool.requeue(two)
    assert harness.drain() == ["two"]
    assert len(names) + harness.lost["corrupt"] == 1000
    assert list(tmp_path.glob("*.corrupt-*"))
    assert harness.spool.state == "disk"
    harness.spool.close()
    assert SpoolHarness(path).drain() == []


def remove(path: Path) -> None:
    """Delete a file and its log."""
    path.unlink()
    Path(f"{path}-wal").unlink()


def replace(path: Path) -> None:
    """Replace a file by another valid spool, and leave the old log."""
    other = path.with_name("other.db")
    filled_spool(other, 1).spool.close()
    other.rename(path)


@pytest.mark.parametrize(
    ("how", "found"),
    [(remove, []), (lambda path: path.unlink(), []), (replace, ["0"])],
    ids=["deleted", "deleted without log", "replaced"],
)
def test_lost_file_is_recreated_without_loss(
    tmp_path: Path, how: Callable[[Path], None], found: list[str]
) -> None:
    path = tmp_path / "spool.db"
    harness = filled_spool(path)
    key = harness.spool.add_in_flight(make_request("3", START + 3))
    how(path)
    with capture_logs() as log:
        harness.spool.requeue(key)
    assert [event["event"] for event in log if event["event"] != "spool_found"] == [
        "spool_in_memory",
        "spool_disk_recovered",
    ]
    assert log[0]["reason"] == "gone"
    harness.wait(0)
    assert (harness.spool.state, path.exists()) == ("disk", True)
    harness.spool.close()
    again = SpoolHarness(path)
    assert again.drain() == sorted([*found, "0", "1", "2", "3"])
    assert again.spool.ambiguous == 0
    assert list(tmp_path.glob("spool.db.*")) == []


def test_lost_log_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    harness = filled_spool(path)
    Path(f"{path}-wal").unlink()
    harness.spool.add(make_request("3", START + 3))
    assert "io" in harness.spool.state
    harness.wait(MIN_DELAY)
    assert harness.spool.state == "disk"
    assert harness.drain() == ["0", "1", "2", "3"]


def test_power_loss_keeps_commits(tmp_path: Path) -> None:
    path, copy = tmp_path / "spool.db", tmp_path / "copy.db"
    harness = filled_spool(path, 50)
    harness.spool.add_in_flight(make_request("live", START + 50))
    # By another process: closing a file here would release its lock.
    for end in ("", "-wal"):
        subprocess.run(["cp", f"{path}{end}", f"{copy}{end}"], check=True)
    again = SpoolHarness(copy)
    assert again.drain() == [*map(str, range(50)), "live"]
    assert again.spool.ambiguous == 1
