"""Whatever the disk refuses, the spool goes on in memory, says so once, and heals."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.file import FIRST_DELAY, LONGEST_DELAY
from tests.support.entries import DAY, MIB, START, entry
from tests.support.mounts import filled_up, remount, tmpfs
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spooler import spooler
from tests.support.spools import Shelf, filled
from tests.support.spools import closed as closed
from tests.support.waiting import wait_for

NOISE = 100


def test_a_full_disk_is_gone_without(tmp_path: Path) -> None:
    """On a full disk requests wait in memory; those on disk can be sent; with space all heals."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "4m"):
        shelf = filled(folder / "spool.db", 100, 2 * MIB)
        key = shelf.spool.keep(entry("100", START + 100))
        with filled_up(folder):
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
        with filled_up(folder):
            for number in range(100, 600):
                shelf.spool.add(entry(str(number), START + number, NOISE))
            assert shelf.spool.state.startswith("memory: full: ")
            sent = shelf.names()
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
        with filled_up(folder):
            shelf = filled(folder / "spool.db")
            assert shelf.spool.state.startswith("memory: full: ")
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
    gaps = [round(after - before) for before, after in pairwise(tried)]
    assert gaps == [30, 60, 120, 240, 300, 300, 300, 300, 300][: len(gaps)]
    assert len(gaps) >= 6
    (tmp_path / "file").unlink()
    shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"


def test_only_one_exporter_has_the_file(tmp_path: Path) -> None:
    """A second exporter goes on in memory, and takes over once the first was killed."""
    path = tmp_path / "spool.db"
    filled(path).spool.close()
    with (
        subprocess.Popen(
            spooler(path, "", "hold"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as holder,
        ended(holder),
    ):
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
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("SELECT * FROM requests")
        holder.kill()
        wait_for(lambda: holder.poll() is not None)
        shelf.wait(LONGEST_DELAY)
    assert shelf.spool.state == "disk"
    assert shelf.names() == ["0", "1", "2", "3"]
    assert not list(tmp_path.glob("*.corrupt*"))


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A path to a device, a pipe or a folder is left alone, and gives one clear message."""
    path = tmp_path / "spool.db"
    {"device": lambda: path.symlink_to("/dev/null"), "pipe": lambda: os.mkfifo(path)}.get(
        kind, path.mkdir
    )()
    shelf = Shelf(path)
    shelf.add("a")
    assert "not a regular file" in shelf.spool.state
    assert not path.is_file()
    assert shelf.names() == ["a"]


def test_without_a_path_there_is_no_sqlite() -> None:
    """Who keeps the spool in memory does not pay for SQLite."""
    code = "from neuron_exporter.sinks.delivery.spool.spool import Spool; import sys; "
    code += "Spool(None, 10**6, 60, print).upkeep(); sys.exit('sqlite3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
