"""Whatever a planted file contains, requests of this configuration are sent and no others."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.orphans import MAX_OPENED, SCAN_INTERVAL
from neuron_exporter.sinks.delivery.spool.paths import ORPHAN_AGE
from neuron_exporter.sinks.delivery.spool.rows import Row, unpack
from neuron_exporter.sinks.delivery.spool.spool import MAX_DAMAGED
from tests.support.planted_spools import change
from tests.support.spool_requests import DAY, MIB, START, make_request
from tests.support.spools import PAGE, SpoolHarness, filled_spool
from tests.support.spools import close_spools as close_spools

INSERT = (
    "INSERT INTO requests (in_flight, failures, stamp, namespace, region, payload)"
    " SELECT {0}, {1}, {2}, namespace, region, {3} FROM requests LIMIT 1"
)


def schema(*statements: str) -> Callable[[Path], None]:
    """Return a function that changes the schema of a file."""
    return lambda path: change(path, *statements)


def relabelled(name: str, column: str) -> Callable[[Path], None]:
    """Return a function that indexes the payload in place of a column, under the name and text of
    the real index."""

    def write(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            (text,) = connection.execute(
                "SELECT sql FROM sqlite_master WHERE name = ?", (name,)
            ).fetchone()
        change(
            path,
            f"DROP INDEX {name}",
            text.replace(column, "payload"),
            "PRAGMA writable_schema = ON",
            f"UPDATE sqlite_master SET sql = '{text}' WHERE name = '{name}'",  # noqa: S608
        )

    return write


def copied_layout(setting: str) -> Callable[[Path], None]:
    """Return a function that writes the same schema and rows with another layout."""

    def write(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            script = "\n".join(connection.iterdump())
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"PRAGMA {setting};{script}")
        change(path, f"PRAGMA application_id = {0x4E455854}", "PRAGMA user_version = 1")

    return write


FOREIGN: dict[str, Callable[[Path], None]] = {
    "another table": schema("CREATE TABLE more (a)"),
    "a virtual table": schema("CREATE VIRTUAL TABLE more USING fts5(a)"),
    "a trigger": schema("CREATE TRIGGER t AFTER DELETE ON requests BEGIN SELECT 1; END"),
    "a view": schema("CREATE VIEW v AS SELECT 1"),
    "an index of an expression": schema("CREATE INDEX i ON requests (abs(stamp))"),
    "a column": schema("ALTER TABLE requests ADD COLUMN a DEFAULT (1)"),
    "no index": schema("DROP INDEX by_age"),
    "no token": schema("DELETE FROM file"),
    "a wrong token": schema("UPDATE file SET token = '../../../etc'"),
    "no free pages": copied_layout("auto_vacuum = NONE; PRAGMA page_size = 1024"),
    "large pages": copied_layout("auto_vacuum = INCREMENTAL; PRAGMA page_size = 65536"),
    "used up ids": schema("UPDATE sqlite_sequence SET seq = 9223372036854775807"),
    "used up ids of rows": schema("UPDATE requests SET id = 9223372036854775807 WHERE id = 3"),
    "no ids": schema("UPDATE sqlite_sequence SET seq = NULL"),
    "many in flight": schema(*[INSERT.format(1, 0, "stamp", "payload")] * 101),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_file_with_another_schema_is_set_aside(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    FOREIGN[kind](path)
    content = path.read_bytes()
    harness = SpoolHarness(path)
    with capture_logs() as log:
        harness.add("a")
    assert harness.spool.state == "disk"
    assert harness.drain() == ["a"]
    assert [event["event"] for event in log] == ["spool_quarantined"]
    assert log[0]["kept_as"] == f"{path}.foreign-{int(START)}"
    assert Path(log[0]["kept_as"]).read_bytes() == content


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


@pytest.mark.parametrize(
    "values",
    [
        (0, 0, "'late'", "payload"),
        (0, 0, "x'00'", "payload"),
        (0, "'often'", "stamp", "payload"),
        (0, "x'ff'", "stamp", "payload"),
        (0, -1, "stamp", "payload"),
        (0, 0, "-1e300", "payload"),
        (0, 0, "9e999", "payload"),
        (0, 0, "stamp", "'text'"),
        (0, 0, "stamp", f"zeroblob({MIB + 1})"),
        ("'both'", 0, "stamp", "payload"),
    ],
)
def test_rows_of_other_types_stay(tmp_path: Path, values: tuple[object, ...]) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    change(path, INSERT.format(*values))
    harness = SpoolHarness(path, 16 * MIB)
    harness.spool.maintain()
    assert (len(harness.spool), harness.spool.others) == (3, 1)
    assert harness.drain() == ["0", "1", "2"]
    assert harness.spool.state == "disk"


def test_requests_for_another_destination_stay(tmp_path: Path) -> None:
    """They are sent once the configuration is theirs again, and dropped once they are too old."""
    path = tmp_path / "spool.db"
    first = SpoolHarness(path, region="eu-west-1")
    first.spool.add(make_request("a", START, region="eu-west-1"))
    first.spool.add(make_request("old", START - 13 * DAY, region="eu-west-1"))
    first.spool.close()
    second = SpoolHarness(path)
    second.add("b")
    second.wait(0)
    assert (len(second.spool), second.spool.others, second.spool.oldest) == (1, 2, START)
    assert second.drain() == ["b"]
    second.spool.confirm_clock()
    second.wait(1.5 * DAY)
    assert (len(second.spool), second.spool.others) == (0, 1)
    assert second.lost == {"too_old": 1}
    assert second.spool.close() == 0
    assert SpoolHarness(path, region="eu-west-1").drain() == ["a"]


def test_full_spool_drops_the_oldest_for_any_destination(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    first = SpoolHarness(path, region="eu-west-1")
    for number in range(10):
        first.spool.add(make_request(str(number), START - DAY + number, 100, region="eu-west-1"))
    first.spool.close()
    second = SpoolHarness(path, 64 * 1024)
    second.fill(100)
    assert second.spool.others == 0
    assert second.lost["spool_full"] == 110 - len(second.spool)
    assert len(second.drain()) == 110 - second.lost["spool_full"]


@pytest.mark.parametrize(
    ("name", "column"),
    [("by_turn", "failures"), ("by_turn", "stamp"), ("by_age", "stamp"), ("by_age", "in_flight")],
)
def test_index_with_other_values_costs_no_request(tmp_path: Path, name: str, column: str) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    relabelled(name, column)(path)
    harness = SpoolHarness(path, 16 * MIB)
    for _ in range(3):
        harness.wait(1)
    harness.add("3")
    names = ["0", "1", "2", "3"]
    # A stamp that no query finds leaves its request in the file.
    assert sorted(harness.drain()) == (["3"] if name == "by_turn" and column == "stamp" else names)
    harness.wait(1)
    assert harness.spool.state == "disk"
    assert harness.drain() == []


def endless(path: Path) -> None:
    """Let the table be a tree in which each inner page refers to one other page 60 times: with ten
    levels it has 60^9 leaves, in a file of some kB."""
    filled_spool(path, 1).spool.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'requests'"
        ).fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    content = bytearray(path.read_bytes())
    leaf = content[(root - 1) * PAGE : root * PAGE]
    levels, children = 10, 60
    for level in range(levels):
        number = root if level == 0 else pages + level
        cells = [struct.pack(">IB", pages + level + 1, key) for key in range(1, children + 1)]
        start = PAGE - sum(map(len, cells))
        pointers = b"".join(struct.pack(">H", start + 5 * each) for each in range(children))
        header = struct.pack(">BHHHBI", 5, 0, children, start, 0, pages + level + 1)
        page = (header + pointers).ljust(start, b"\0") + b"".join(cells)
        content[(number - 1) * PAGE : number * PAGE] = page
    content[(pages + levels - 1) * PAGE :] = leaf
    content += leaf
    struct.pack_into(">I", content, 28, len(content) // PAGE)
    path.write_bytes(content)


def test_schema_that_is_no_text_is_set_aside(tmp_path: Path) -> None:
    """SQLite's message about the schema quotes it."""
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    path.write_bytes(path.read_bytes().replace(b"sqlite_sequence(", b"sql\xe3te_sequence("))
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.drain() == ["a"]
    assert harness.spool.state == "disk"


def test_endless_table_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    endless(path)
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.drain() == ["a"]
    assert harness.spool.state == "disk"
    (event,) = tmp_path.glob("*.corrupt-*")
    assert event.stat().st_size < 64 * 1024


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([{"MetricName": 1}]),
        msgspec.msgpack.encode([{"MetricName": "x" * 1025}]),
        msgspec.msgpack.encode([{"Values": [0.0] * 151}]),
        msgspec.msgpack.encode([{}] * 1001),
        b"\xdd\xff\xff\xff\xff",
        b"\x91\x81\xa6Values\xdd\xff\xff\xff\xff",
        b"\x91\x81\xa1Z" + b"\x91" * 1_000_000 + b"\xc0",
        bytes(2**26),
    ],
    ids=range(10),
)
def test_payload_of_another_shape_is_damaged(packed: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(Row(0, START, "NeuronExporter", "r-1", zlib.compress(packed)))


def test_damaged_requests_do_not_hold_up_others(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path, 1).spool.close()
    change(path, *[INSERT.format(0, 0, START - 1, "x'00'")] * (MAX_DAMAGED + 1))
    harness = SpoolHarness(path)
    assert harness.spool.take() is None
    assert harness.lost == {"corrupt": MAX_DAMAGED}
    assert harness.drain() == ["0"]


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


def test_hard_link_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    os.link(path, tmp_path / "another name")
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.drain() == ["a"]


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


def test_planted_folder_does_not_prevent_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    for number in range(4):
        (tmp_path / f"spool.db.corrupt-{number}").mkdir()
    path.write_text("garbage")
    harness = SpoolHarness(path)
    harness.add("a")
    assert harness.spool.state == "disk"


def test_many_planted_orphans_only_delay_others(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    for number in range(MAX_OPENED + 5):
        bad = tmp_path / f"bad-{number}.db"
        bad.write_text("garbage")
        os.utime(bad, (number, number))
    filled_spool(tmp_path / "left.db").spool.close()
    os.utime(tmp_path / "left.db", (START - ORPHAN_AGE - 1,) * 2)
    harness = SpoolHarness(tmp_path / "mine.db", template=template)
    with capture_logs() as log:
        harness.spool.maintain()
        assert len(log) == MAX_OPENED
        assert harness.drain() == []
        harness.wait(SCAN_INTERVAL)
    assert harness.drain() == ["0", "1", "2"]


def test_orphan_that_is_too_large_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    filled_spool(path).spool.close()
    os.truncate(path, 300 * MIB)
    os.utime(path, (1, 1))
    harness = SpoolHarness(tmp_path / "mine.db", template=str(tmp_path / "{task_id}.db"))
    with capture_logs() as log:
        harness.spool.maintain()
    assert [event["event"] for event in log] == ["spool_orphan_skipped"]
    assert harness.drain() == []


def test_copy_of_the_own_file_is_not_adopted(tmp_path: Path) -> None:
    path, copy = tmp_path / "mine.db", tmp_path / "copy.db"
    filled_spool(path).spool.close()
    shutil.copy(path, copy)
    os.utime(copy, (1, 1))
    harness = SpoolHarness(path, 16 * MIB, template=str(tmp_path / "{task_id}.db"))
    harness.spool.maintain()
    assert harness.drain() == ["0", "1", "2"]
    assert copy.exists()


def test_orphan_keeps_requests_for_other_destinations(tmp_path: Path) -> None:
    path, template = tmp_path / "left.db", str(tmp_path / "{task_id}.db")
    first = SpoolHarness(path, region="eu-west-1")
    first.spool.add(make_request("theirs", START, region="eu-west-1"))
    ours = replace(make_request("ours", START), namespace="NeuronExporter")
    first.spool.add(ours)
    first.spool.close()
    os.utime(path, (1, 1))
    harness = SpoolHarness(tmp_path / "mine.db", template=template)
    with capture_logs() as log:
        harness.spool.maintain()
        assert (len(harness.spool), harness.spool.others) == (1, 1)
        assert harness.drain() == ["ours"]
        for _ in range(3):
            harness.wait(SCAN_INTERVAL)
    assert harness.spool.others == 1
    assert [e["event"] for e in log] == ["spool_orphan_adopted", "spool_orphan_kept"]
    os.utime(path, (1, 1))
    other = SpoolHarness(tmp_path / "other.db", template=template, region="eu-west-1")
    other.spool.maintain()
    assert other.drain() == ["theirs"]
    other.wait(1)
    assert not path.exists()
    harness.wait(SCAN_INTERVAL)
    assert harness.spool.others == 0
