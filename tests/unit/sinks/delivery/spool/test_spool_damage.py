"""A file that is damaged, deleted or replaced costs what cannot be read of it, and no more."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.file import FIRST_DELAY, LONGEST_DELAY
from neuron_exporter.sinks.delivery.spool.paths import MOST_ASIDE
from tests.support.entries import MIB, START, entry
from tests.support.spools import Shelf, filled
from tests.support.spools import closed as closed

PAGE = 1024


def overwrite(path: Path, start: int, number: int = 10 * PAGE) -> None:
    """Put garbage into a file. By another process: closing it here would free SQLite's lock."""
    subprocess.run(
        [
            "dd",
            "if=/dev/urandom",
            f"of={path}",
            "oflag=seek_bytes",
            "iflag=count_bytes,fullblock",
            "bs=1M",
            "conv=notrunc",
            "status=none",
            f"seek={start}",
            f"count={number}",
        ],
        check=True,
    )


def newer(path: Path) -> None:
    """Make it the file of a later version."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def foreign(path: Path) -> None:
    """Put another program's database there."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()


BROKEN: dict[str, Callable[[Path], object]] = {
    "header": lambda path: overwrite(path, 0, 100),
    "first pages": lambda path: overwrite(path, 100),
    "no database": lambda path: path.write_text("hello " * 1000),
    "truncated": lambda path: os.truncate(path, 4 * PAGE),
    "newer": newer,
    "foreign": foreign,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_cannot_be_used_is_kept_aside(tmp_path: Path, how: str) -> None:
    """A corrupt file, or one of somebody else, is renamed and kept as it is; a new one is begun."""
    path = tmp_path / "spool.db"
    filled(path).spool.close()
    BROKEN[how](path)
    content = path.read_bytes()
    shelf = Shelf(path)
    with capture_logs() as said:
        shelf.spool.upkeep()
        shelf.add("a")
    assert shelf.spool.state == "disk"
    assert shelf.names() == ["a"]
    assert [event["event"] for event in said] == ["spool_set_aside"]
    aside = Path(said[0]["kept_as"])
    kind = "foreign" if how in ("newer", "foreign") else "corrupt"
    assert aside.name == f"spool.db.{kind}-{int(START)}"
    assert aside.read_bytes() == content


def test_few_files_are_kept_aside(tmp_path: Path) -> None:
    """What is set aside cannot fill the disk: the oldest of it are deleted."""
    path = tmp_path / "spool.db"
    for number in range(5):
        path.write_text(f"garbage {number}")
        shelf = Shelf(path, wall=START + number)
        shelf.spool.upkeep()
        shelf.spool.close()
    aside = sorted(tmp_path.glob("*.corrupt-*"))
    assert [each.read_text() for each in aside] == ["garbage 3", "garbage 4"]
    assert len(aside) == MOST_ASIDE


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    """A file of no bytes, as a full disk may leave it, is as good as none."""
    path = tmp_path / "spool.db"
    path.touch()
    shelf = filled(path)
    with capture_logs() as said:
        shelf.spool.upkeep()
    assert (shelf.spool.state, said) == ("disk", [])
    assert shelf.names() == ["0", "1", "2"]
    assert [each.name for each in tmp_path.glob("*aside*")] == []


def test_damage_deep_in_a_file_costs_what_is_damaged(tmp_path: Path) -> None:
    """Requests that can be read are saved from a damaged file, and what was lost is counted."""
    path = tmp_path / "spool.db"
    filled(path, 1000).spool.close()
    overwrite(path, path.stat().st_size // 2, 20 * PAGE)
    shelf = Shelf(path, 16 * MIB)
    with capture_logs() as said:
        shelf.spool.upkeep()
        names = shelf.names()
    assert 900 < len(names) < 1000
    assert {"0", "999"} < set(names)
    assert len(names) + shelf.lost["corrupt"] == 1000
    assert set(shelf.lost) == {"corrupt"}
    assert "spool_dropping" in [event["event"] for event in said]
    shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"
    shelf.add("a")
    assert shelf.names() == ["a"]


def test_damage_while_it_runs_loses_nothing_in_hand(tmp_path: Path) -> None:
    """A request in flight while the file breaks is settled or returned as if nothing had been."""
    path = tmp_path / "spool.db"
    filled(path, 1000).spool.close()
    shelf = Shelf(path, 16 * MIB)
    one = shelf.spool.keep(entry("one", START + 5000))
    two = shelf.spool.keep(entry("two", START + 5001))
    shelf.spool._disk._file.store._shorten_log()
    overwrite(path, PAGE, path.stat().st_size - 2 * PAGE)
    names = shelf.names()
    shelf.spool.settled(one)
    shelf.spool.returned(two)
    assert shelf.names() == ["two"]
    assert len(names) + shelf.lost["corrupt"] == 1000
    assert list(tmp_path.glob("*.corrupt-*"))
    assert shelf.spool.state == "disk"
    shelf.spool.close()
    assert Shelf(path).names() == []


def remove(path: Path) -> None:
    """Delete a file and its log, as somebody who cleans up."""
    path.unlink()
    Path(f"{path}-wal").unlink()


def replace(path: Path) -> None:
    """Put another, good spool in its place, and leave the old log."""
    other = path.with_name("other.db")
    filled(other, 1).spool.close()
    other.rename(path)


@pytest.mark.parametrize(
    ("how", "found"),
    [(remove, []), (lambda path: path.unlink(), []), (replace, ["0"])],
    ids=["deleted", "deleted without log", "replaced"],
)
def test_a_file_that_goes_away_is_begun_anew(
    tmp_path: Path, how: Callable[[Path], None], found: list[str]
) -> None:
    """A file that is deleted or replaced while it is in use costs nothing of what it held."""
    path = tmp_path / "spool.db"
    shelf = filled(path)
    key = shelf.spool.keep(entry("3", START + 3))
    how(path)
    with capture_logs() as said:
        shelf.spool.returned(key)
    assert [event["event"] for event in said if event["event"] != "spool_found"] == [
        "spool_in_memory",
        "spool_on_disk_again",
    ]
    assert said[0]["reason"] == "gone"
    shelf.wait(0)
    assert (shelf.spool.state, path.exists()) == ("disk", True)
    shelf.spool.close()
    again = Shelf(path)
    assert again.names() == sorted([*found, "0", "1", "2", "3"])
    assert again.spool.ambiguous == 0
    assert [each.name for each in tmp_path.iterdir() if "aside" in each.name] == []


def test_a_log_that_goes_away_costs_nothing(tmp_path: Path) -> None:
    """What the deleted log held is written to the file before that is opened anew."""
    path = tmp_path / "spool.db"
    shelf = filled(path)
    Path(f"{path}-wal").unlink()
    shelf.spool.add(entry("3", START + 3))
    assert "io" in shelf.spool.state
    shelf.wait(FIRST_DELAY)
    assert shelf.spool.state == "disk"
    assert shelf.names() == ["0", "1", "2", "3"]


def test_a_copy_of_the_files_is_good_at_any_time(tmp_path: Path) -> None:
    """What a loss of power leaves, the file and its synced log, holds all that was committed."""
    path, copy = tmp_path / "spool.db", tmp_path / "copy.db"
    shelf = filled(path, 50)
    shelf.spool.keep(entry("live", START + 50))
    # By another process, as closing a file here frees its lock.
    for end in ("", "-wal"):
        subprocess.run(["cp", f"{path}{end}", f"{copy}{end}"], check=True)
    assert shutil.which("cp")
    again = Shelf(copy)
    assert again.names() == [*map(str, range(50)), "live"]
    assert again.spool.ambiguous == 1
