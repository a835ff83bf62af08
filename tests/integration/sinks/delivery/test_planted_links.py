"""Links, and logs that other users can write, in place of the spool's files: none is used."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.database import Database
from tests.support.spools import SpoolHarness, assert_quarantined, filled_spool
from tests.support.spools import close_spools as close_spools


def test_link_that_replaces_the_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it replaces the file between the check and SQLite's opening of it."""
    path, target = tmp_path / "spool.db", tmp_path / "target"
    filled_spool(path).spool.close()
    target.touch()
    connect, away = sqlite3.connect, tmp_path / "away"

    def replace_first(address: str, **options: object) -> sqlite3.Connection:
        if address.startswith("file:") and not away.exists():
            path.rename(away)
            path.symlink_to(target)
        return connect(address, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(sqlite3, "connect", replace_first)
    harness = SpoolHarness(path)
    with capture_logs() as log:
        harness.add("a")
    assert [event.get("reason") for event in log][:1] == ["gone"]
    assert harness.drain() == ["a"]
    assert harness.spool.state == "disk"
    assert not path.is_symlink()
    assert target.stat().st_size == 0


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_linked_companion_is_not_followed(tmp_path: Path, suffix: str) -> None:
    path, target = tmp_path / "spool.db", tmp_path / "target"
    filled_spool(path).spool.close()
    target.write_text("unchanged")
    Path(f"{path}{suffix}").symlink_to(target)
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.spool.state == "disk"
    assert harness.drain() == ["a"]
    assert target.read_text() == "unchanged"
    assert not Path(f"{path}{suffix}").is_symlink()


def test_hard_link_is_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    os.link(path, tmp_path / "another name")
    assert_quarantined(path, "foreign")


def test_linked_directory_is_not_followed(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}" / "spool.db")
    target = tmp_path / "tar.get" / "spool.db"  # not the name of a task
    filled_spool(target).spool.close()
    os.utime(target, (1, 1))
    content = target.read_bytes()
    for link in ("left", "mine"):
        (tmp_path / link).symlink_to(target.parent)
    harness = SpoolHarness(tmp_path / "mine" / "spool.db", template=template)
    harness.add("a")
    harness.spool.maintain()
    assert "its directory is a symbolic link" in harness.spool.state
    assert harness.drain() == ["a"]
    assert target.read_bytes() == content


def test_log_that_is_planted_while_the_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that every user can write is not used, even if it was not there at the first check."""
    path, connect = tmp_path / "spool.db", sqlite3.connect
    log = Path(f"{path}-wal")
    filled_spool(path).spool.close()

    def plant(database: str, **options: Any) -> sqlite3.Connection:
        if str(path) in database:
            log.write_bytes(b"planted" * 10)
            log.chmod(0o666)
            monkeypatch.undo()
        return connect(database, **options)

    monkeypatch.setattr(sqlite3, "connect", plant)
    harness = SpoolHarness(path)
    with capture_logs() as events:
        harness.add("a")
    assert [event["event"] for event in events] == ["spool_quarantined"]
    assert log.stat().st_mode & 0o077 == 0
    assert harness.spool.state == "disk"
    assert harness.drain() == ["a"]


def test_log_that_is_replaced_after_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the log at the path says nothing about the log that SQLite has open."""
    path = tmp_path / "spool.db"
    log = Path(f"{path}-wal")
    filled_spool(path).spool.close()
    verify_log = Database._verify_log

    def replace_first(database: Database) -> None:
        monkeypatch.undo()
        log.rename(tmp_path / "away")
        log.touch(mode=0o600)
        verify_log(database)

    monkeypatch.setattr(Database, "_verify_log", replace_first)
    harness = SpoolHarness(path)
    with capture_logs() as events:
        harness.add("a")
    assert [event["reason"] for event in events] == ["gone"]
    harness.wait(0)
    assert harness.spool.state == "disk"
    assert sorted(harness.drain()) == ["0", "1", "2", "a"]
