"""Whatever a planted file contains, requests of this configuration are sent and no others."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.cloudwatch.request import unpack
from neuron_exporter.sinks.delivery.spool import database
from neuron_exporter.sinks.delivery.spool.database import MAX_ROW_BYTES
from neuron_exporter.sinks.delivery.spool.rows import Row
from neuron_exporter.sinks.delivery.spool.spool import MAX_DAMAGED
from tests.support.planted_spools import change, make_endless, write_spool
from tests.support.spool_requests import DAY, MIB, START, make_request
from tests.support.spools import SpoolHarness, assert_quarantined, filled_spool
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
def test_file_with_another_schema_is_quarantined(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    FOREIGN[kind](path)
    assert_quarantined(path, "foreign")


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


def test_row_of_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    change(path, f"UPDATE requests SET region = hex(zeroblob({MAX_ROW_BYTES + 1}))")  # noqa: S608
    assert_quarantined(path, "corrupt")


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


def test_schema_that_is_no_text_is_quarantined(tmp_path: Path) -> None:
    """SQLite's message about the schema quotes it."""
    path = tmp_path / "spool.db"
    filled_spool(path).spool.close()
    path.write_bytes(path.read_bytes().replace(b"sqlite_sequence(", b"sql\xe3te_sequence("))
    assert_quarantined(path, "corrupt")


@pytest.mark.parametrize("region", ["r-1", "eu-west-1"], ids=["own", "of others"])
def test_endless_table_is_quarantined(tmp_path: Path, region: str) -> None:
    """Its requests have the same ids many times."""
    path = tmp_path / "spool.db"
    write_spool(path, region=region)
    make_endless(path, "requests")
    assert path.stat().st_size < 64 * 1024
    assert_quarantined(path, "corrupt")


def test_many_operations_are_not_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds for one operation, not for all since the file was opened."""
    monkeypatch.setattr(database, "_STEPS", 100)
    monkeypatch.setattr(database, "_MIN_CALLS", 100)
    harness = SpoolHarness(tmp_path / "spool.db")
    names = [str(number) for number in range(200)]
    with capture_logs() as log:
        harness.add(*names)
        assert harness.drain() == names
    assert log == []


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
