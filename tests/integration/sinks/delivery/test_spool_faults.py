"""When the disk fails, the spool continues in memory, logs it once and recovers."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.disk import MAX_DELAY, MIN_DELAY
from tests.support.mounts import filled_file_system, remount, tmpfs
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spool_requests import DAY, MIB, START, make_request, name_of
from tests.support.spooler import spool_command
from tests.support.spools import PAGE, SpoolHarness, filled_spool, overwrite
from tests.support.spools import close_spools as close_spools
from tests.support.waiting import wait_for

NOISE = 100


def test_full_disk_moves_spool_to_memory(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "4m"):
        harness = filled_spool(folder / "spool.db", 100, 2 * MIB)
        key = harness.spool.add_in_flight(make_request("100", START + 100))
        with filled_file_system(folder):
            with capture_logs() as log:
                for number in range(101, 600):
                    harness.spool.add(make_request(str(number), START + number, NOISE))
                    harness.wait(0.1)
            assert [(event["event"], event.get("reason")) for event in log] == [
                ("spool_in_memory", "full")
            ]
            assert harness.spool.state.startswith("memory: full: ")
            harness.spool.requeue(key)
            assert len(harness.spool) == 600
        with capture_logs() as log:
            harness.wait(MAX_DELAY)
        assert [event["event"] for event in log] == ["spool_disk_recovered"]
        assert harness.spool.state == "disk"
        harness.spool.close()
        again = SpoolHarness(folder / "spool.db", 2 * MIB)
        assert again.drain() == [str(number) for number in range(600)]
        assert again.spool.ambiguous == 0
        assert not harness.lost
        again.spool.close()


def test_full_disk_is_drained(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "4m"):
        harness = filled_spool(folder / "spool.db", 100, 2 * MIB)
        with filled_file_system(folder):
            for number in range(100, 600):
                harness.spool.add(make_request(str(number), START + number, NOISE))
            assert harness.spool.state.startswith("memory: full: ")
            sent = harness.drain()
        harness.wait(MAX_DELAY)
        sent += harness.drain()
        assert sorted(sent, key=int) == [str(number) for number in range(600)]
        harness.spool.close()
        assert SpoolHarness(folder / "spool.db").drain() == []


def test_salvage_skips_delivered_requests(tmp_path: Path) -> None:
    """What was delivered, but could not be deleted on a full disk, is not sent again when the file
    turns out to be corrupt."""
    folder = tmp_path / "small"
    folder.mkdir()
    path = folder / "spool.db"
    with tmpfs(folder, "4m"):
        harness = filled_spool(path, 1000, 2 * MIB)
        disk = harness.spool._disk
        assert disk is not None
        store = disk._file.store
        assert store is not None
        (root,) = store._connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'by_age'"
        ).fetchone()
        taken = harness.spool.take()
        assert taken is not None
        store._shorten_log()
        with filled_file_system(folder):
            harness.spool.discard(taken.key)
            assert harness.spool.state.startswith("memory: full: ")
        overwrite(path, (root - 1) * PAGE, PAGE)
        store._connection.execute("PRAGMA shrink_memory")
        with capture_logs() as log:
            harness.wait(0)
        assert "spool_quarantined" in [event["event"] for event in log]
        names = harness.drain()
        assert name_of(taken.request) not in names
        assert len(names) + harness.lost["corrupt"] == 999
        assert disk._undeleted == {}
        harness.spool.close()


def test_start_on_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "64k"):
        with filled_file_system(folder):
            harness = filled_spool(folder / "spool.db")
            assert harness.spool.state.startswith("memory: full: ")
        harness.wait(MAX_DELAY)
        assert harness.spool.state == "disk"
        assert harness.drain() == ["0", "1", "2"]
        harness.spool.close()


def test_read_only_disk_moves_spool_to_memory(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, "1m"):
        first = filled_spool(folder / "spool.db")
        first.spool.close()
        remount(folder, "ro")
        harness = SpoolHarness(folder / "spool.db")
        with capture_logs() as log:
            for number in range(3, 6):
                harness.spool.add(make_request(str(number), START + number))
                harness.wait(MIN_DELAY + 1)
        assert [(event["event"], event["reason"]) for event in log] == [
            ("spool_in_memory", "read_only")
        ]
        assert len(harness.spool) == 3
        assert harness.spool.take() is not None
        remount(folder, "rw")
        harness.wait(MAX_DELAY)
        assert harness.spool.state == "disk"
        assert harness.drain() == ["0", "1", "2", "4", "5"]  # 3 is in flight
        assert harness.spool.ambiguous == 0
        harness.spool.close()


def test_impossible_directory_is_logged(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    harness = SpoolHarness(tmp_path / "file" / "folder" / "spool.db")
    with capture_logs() as log:
        harness.add("a")
        harness.wait(DAY)
        harness.wait(DAY)
    assert [event["event"] for event in log] == ["spool_in_memory"]
    assert str(tmp_path / "file") in log[0]["message"]
    assert "Not a directory" in log[0]["message"]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Make writes beyond this size fail, as on a disk with bad blocks (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_write_errors_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    harness = filled_spool(path, 10)
    key = harness.spool.add_in_flight(make_request("10", START + 10))
    with no_file_longer_than(Path(f"{path}-wal").stat().st_size):
        harness.add(*map(str, range(100, 200)), noise=NOISE)
        harness.spool.requeue(key)
        assert "io" in harness.spool.state
    harness.wait(MAX_DELAY)
    assert harness.spool.state == "disk"
    assert sorted(map(int, harness.drain())) == [*range(11), *range(100, 200)]
    assert harness.spool.ambiguous == 0
    harness.spool.close()
    assert SpoolHarness(path).drain() == []


def test_disk_retries_back_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    harness = SpoolHarness(tmp_path / "file" / "spool.db")
    tried: list[float] = []
    disk = harness.spool._disk
    assert disk is not None
    opened = disk._file.open
    monkeypatch.setattr(disk._file, "open", lambda: [tried.append(harness.uptime), opened()][1])
    for _ in range(2000):
        harness.wait(1.0)
    gaps = [round(after - before) for before, after in pairwise(tried)]
    assert gaps == [30, 60, 120, 240, 300, 300, 300, 300, 300][: len(gaps)]
    assert len(gaps) >= 6
    (tmp_path / "file").unlink()
    harness.wait(MAX_DELAY)
    assert harness.spool.state == "disk"


def test_file_has_one_exporter(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    with (
        subprocess.Popen(
            spool_command(path, "", "hold"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as owner,
        ended(owner),
    ):
        assert owner.stdout is not None
        assert owner.stdout.readline() == "disk\n"
        harness = SpoolHarness(path)
        with capture_logs() as log:
            harness.spool.add(make_request("3", START + 3))
            harness.wait(MIN_DELAY + 1)
        assert [(event["event"], event["reason"]) for event in log] == [
            ("spool_in_memory", "locked")
        ]
        assert len(harness.spool) == 1
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("SELECT * FROM requests")
        owner.kill()
        wait_for(lambda: owner.poll() is not None)
        harness.wait(MAX_DELAY)
    assert harness.spool.state == "disk"
    assert harness.drain() == ["0", "1", "2", "3"]
    assert not list(tmp_path.glob("*.corrupt*"))


@pytest.mark.parametrize("kind", ["socket", "pipe", "folder"])
def test_irregular_file_is_rejected(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spool.db"
    with closing(socket.socket(socket.AF_UNIX)) as unix:
        {"socket": lambda: unix.bind(str(path)), "pipe": lambda: os.mkfifo(path)}.get(
            kind, path.mkdir
        )()
        harness = SpoolHarness(path)
        harness.add("a")
        assert "not a regular file" in harness.spool.state
        assert not path.is_file()
        assert harness.drain() == ["a"]


def test_memory_spool_does_not_import_sqlite() -> None:
    code = """
import sys
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.cloudwatch.request import CODEC
from neuron_exporter.sinks.delivery.transport import AcceptedAges
Spool(
    None, 10**6, AcceptedAges(60, 60), print, codec=CODEC, destination=("", ""), sink="test"
).maintain()
sys.exit("sqlite3" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
