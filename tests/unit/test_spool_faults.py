"""Whatever is wrong with the disk, the spool goes on in memory, says so once, and heals."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.sinks.cloudwatch.spool_file import FIRST_DELAY, LONGEST_DELAY
from exporter.sinks.cloudwatch.spool_path import MOST_ASIDE
from tests.support.mounts import remount, tmpfs
from tests.support.processes import ended
from tests.support.spooler import ROOT, spooler
from tests.support.spools import DAY, MIB, START, Shelf, entry
from tests.support.waiting import wait_for

NOISE = 100
PAGE = 1024


def filled(path: Path, number: int = 3, max_bytes: int = 16 * MIB) -> Shelf:
    """A spool with pending requests named 0, 1, 2 …"""
    shelf = Shelf(path, max_bytes)
    shelf.fill(number)
    return shelf


def overwrite(path: Path, start: int, number: int = 10 * PAGE) -> None:
    """Put garbage into a file. By another process: closing it here would free SQLite's lock."""
    subprocess.run(
        ["dd", "if=/dev/urandom", f"of={path}", "bs=1", "conv=notrunc", "status=none"]
        + [f"seek={start}", f"count={number}"],
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
    assert 250 < len(names) < 1000
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


def test_a_full_disk_is_gone_without(tmp_path: Path) -> None:
    """On a full disk requests wait in memory; those on disk can be sent; with space all heals."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "4m"):
        shelf = filled(folder / "spool.db", 100, 2 * MIB)
        key = shelf.spool.keep(entry("100", START + 100))
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        with capture_logs() as said:
            for number in range(101, 600):
                shelf.spool.add(entry(str(number), START + number, NOISE))
                shelf.wait(0.1)
        assert [(event["event"], event.get("reason")) for event in said] == [
            ("spool_in_memory", "full")
        ]
        assert shelf.spool.state.startswith("memory: full: ")
        shelf.spool.returned(key)
        assert len(shelf.spool) == 600
        ballast.unlink()
        with capture_logs() as said:
            shelf.wait(LONGEST_DELAY)
        assert [event["event"] for event in said] == ["spool_on_disk_again"]
        assert shelf.spool.state == "disk"
        shelf.spool.close()
        again = Shelf(folder / "spool.db", 2 * MIB)
        assert again.names() == [str(number) for number in range(600)]
        assert again.spool.ambiguous == 0
        assert not shelf.lost
        again.spool.close()


def test_a_disk_that_stays_full_is_drained(tmp_path: Path) -> None:
    """What is delivered while the disk is full is not sent again after it."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "4m"):
        shelf = filled(folder / "spool.db", 100, 2 * MIB)
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        for number in range(100, 600):
            shelf.spool.add(entry(str(number), START + number, NOISE))
        assert shelf.spool.state.startswith("memory: full: ")
        sent = shelf.names()
        ballast.unlink()
        shelf.wait(LONGEST_DELAY)
        sent += shelf.names()
        assert sorted(sent, key=int) == [str(number) for number in range(600)]
        shelf.spool.close()
        assert Shelf(folder / "spool.db").names() == []


def test_a_start_on_a_full_disk_works(tmp_path: Path) -> None:
    """A file that cannot even be begun is begun when there is space."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "64k"):
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        shelf = filled(folder / "spool.db")
        assert shelf.spool.state.startswith("memory: full: ")
        ballast.unlink()
        shelf.wait(LONGEST_DELAY)
        assert shelf.spool.state == "disk"
        assert shelf.names() == ["0", "1", "2"]
        shelf.spool.close()


def test_a_read_only_disk_is_gone_without(tmp_path: Path) -> None:
    """On a read-only file system the spool is in memory, and moves to disk when it is writable."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "1m"):
        first = filled(folder / "spool.db")
        first.spool.close()
        remount(folder, "ro")
        shelf = Shelf(folder / "spool.db")
        with capture_logs() as said:
            for number in range(3, 6):
                shelf.spool.add(entry(str(number), START + number))
                shelf.wait(FIRST_DELAY + 1)
        assert [(event["event"], event["reason"]) for event in said] == [
            ("spool_in_memory", "read_only")
        ]
        assert len(shelf.spool) == 3
        assert shelf.spool.next() is not None
        remount(folder, "rw")
        shelf.wait(LONGEST_DELAY)
        assert shelf.spool.state == "disk"
        assert shelf.names() == ["0", "1", "2", "4", "5"]  # 3 is in flight
        assert shelf.spool.ambiguous == 0
        shelf.spool.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path below a file gives one clear message, and a spool that works in memory."""
    (tmp_path / "file").touch()
    shelf = Shelf(tmp_path / "file" / "folder" / "spool.db")
    with capture_logs() as said:
        shelf.add("a")
        shelf.wait(DAY)
        shelf.wait(DAY)
    assert [event["event"] for event in said] == ["spool_in_memory"]
    assert str(tmp_path / "file") in said[0]["message"]
    assert "Not a directory" in said[0]["message"]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writes beyond this size fail, as on a disk with bad blocks (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_error_of_the_disk_costs_nothing(tmp_path: Path) -> None:
    """When writes begin to fail, what is in the file stays there and the rest is in memory."""
    path = tmp_path / "spool.db"
    shelf = filled(path, 10)
    key = shelf.spool.keep(entry("10", START + 10))
    with no_file_longer_than(Path(f"{path}-wal").stat().st_size):
        shelf.add(*map(str, range(100, 200)), noise=NOISE)
        shelf.spool.returned(key)
        assert "io" in shelf.spool.state
    shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"
    assert sorted(map(int, shelf.names())) == [*range(11), *range(100, 200)]
    assert shelf.spool.ambiguous == 0
    shelf.spool.close()
    assert Shelf(path).names() == []


def test_the_disk_is_tried_at_growing_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stays bad is not asked all the time, and never given up."""
    (tmp_path / "file").touch()
    shelf = Shelf(tmp_path / "file" / "spool.db")
    tried: list[float] = []
    disk = shelf.spool._disk
    assert disk is not None
    opened = disk._file.open
    monkeypatch.setattr(disk._file, "open", lambda: [tried.append(shelf.uptime), opened()][1])
    for _ in range(2000):
        shelf.wait(1.0)
    gaps = [round(after - before) for before, after in zip(tried, tried[1:], strict=False)]
    assert gaps == [30, 60, 120, 240, 300, 300, 300, 300, 300][: len(gaps)]
    assert len(gaps) >= 6
    (tmp_path / "file").unlink()
    shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"


def test_only_one_exporter_has_the_file(tmp_path: Path) -> None:
    """A second exporter goes on in memory, and takes over once the first was killed."""
    path = tmp_path / "spool.db"
    filled(path).spool.close()
    with subprocess.Popen(
        spooler(path, "", "hold"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        with ended(holder):
            assert holder.stdout is not None
            assert holder.stdout.readline() == "disk\n"
            shelf = Shelf(path)
            with capture_logs() as said:
                shelf.spool.add(entry("3", START + 3))
                shelf.wait(FIRST_DELAY + 1)
            assert [(event["event"], event["reason"]) for event in said] == [
                ("spool_in_memory", "locked")
            ]
            assert len(shelf.spool) == 1
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                sqlite3.connect(path, timeout=0).execute("SELECT * FROM requests")
            holder.kill()
            wait_for(lambda: holder.poll() is not None)
            shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"
    assert shelf.names() == ["0", "1", "2", "3"]
    assert not list(tmp_path.glob("*.corrupt*"))


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
