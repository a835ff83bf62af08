"""Spool files that another program has planted for the exporter."""

from __future__ import annotations

import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuron_exporter.sinks.cloudwatch.request import CODEC, PutMetricDataRequest
from neuron_exporter.sinks.delivery.spool.spool import Spool
from tests.support.spools import ACCEPTED_AGES, PAGE

NAMESPACE, REGION = "NeuronExporter", "us-east-1"
PLANTED = "Planted"
"""Name of the metric in planted requests."""

UNPACKED = 256 * 2**20
"""Bytes of the payload of `bomb`."""

_ENDLESS = "WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless)"


def write_spool(
    path: Path, name: str = PLANTED, namespace: str = NAMESPACE, region: str = REGION
) -> None:
    """Write a file as the exporter does, with one request, a minute old."""
    stamp = time.time() - 60
    datum = {
        "MetricName": name,
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
        "Timestamp": datetime.fromtimestamp(stamp, UTC),
        "Unit": "None",
        "Value": 1.0,
    }
    spool = Spool(
        path,
        2**24,
        ACCEPTED_AGES,
        lambda *_: None,
        codec=CODEC,
        destination=(namespace, region),
        sink="test",
    )
    spool.add(PutMetricDataRequest(namespace, region, stamp, [datum]))
    assert spool.close() == 1


def make_old(path: Path, age: float = 86_400.0) -> None:
    """Make a file look like one of an ended task."""
    os.utime(path, (time.time() - age,) * 2, follow_symlinks=False)


def change(path: Path, *statements: str) -> None:
    """Change a file with SQLite, as one that does not limit the schema."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def make_endless(path: Path, tree: str) -> None:
    """Let a table or an index be a tree in which each inner page refers to one other page 40 times:
    with ten levels it has 40^9 leaves, in a file of some kB."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (tree,)
        ).fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    content = bytearray(path.read_bytes())
    leaf = content[(root - 1) * PAGE : root * PAGE]
    kind, keys = 5, [bytes((key,)) for key in range(1, 41)]
    if leaf[0] == 10:  # an index, whose only cell is at the end
        (cell,) = struct.unpack_from(">H", leaf, 8)
        kind, keys = 2, [bytes(leaf[cell:])] * len(keys)
    levels = 10
    for level in range(levels):
        number = root if level == 0 else pages + level
        cells = [struct.pack(">I", pages + level + 1) + key for key in keys]
        start = PAGE - sum(map(len, cells))
        pointers = b"".join(struct.pack(">H", start + len(cells[0]) * n) for n in range(len(cells)))
        header = struct.pack(">BHHHBI", kind, 0, len(cells), start, 0, pages + level + 1)
        page = (header + pointers).ljust(start, b"\0") + b"".join(cells)
        content[(number - 1) * PAGE : number * PAGE] = page
    content[(pages + levels - 1) * PAGE :] = leaf
    struct.pack_into(">I", content, 28, len(content) // PAGE)
    path.write_bytes(content)


def _view(path: Path) -> None:
    """Put an endless view in place of the table."""
    write_spool(path)
    columns = (
        f"n AS id, 0 AS in_flight, 0 AS failures, {time.time()} AS stamp,"
        f" '{NAMESPACE}' AS namespace, '{REGION}' AS region, x'00' AS payload"
    )
    change(
        path,
        "DROP TABLE requests",
        f"CREATE VIEW requests AS {_ENDLESS} SELECT {columns} FROM endless",  # noqa: S608
    )


def _trigger(path: Path) -> None:
    """Let each change of a request write 200 MB."""
    write_spool(path)
    change(
        path,
        "CREATE TABLE waste (bytes)",
        "CREATE TRIGGER grow AFTER UPDATE ON requests BEGIN INSERT INTO waste"
        " SELECT zeroblob(100000) FROM requests AS a, waste AS b; END",
        f"INSERT INTO waste SELECT 1 FROM ({_ENDLESS} SELECT n FROM endless LIMIT 2000)",  # noqa: S608
    )


def _bomb(path: Path) -> None:
    """Let a payload of some hundred kB expand to 256 MiB."""
    write_spool(path)
    compressor = zlib.compressobj()
    payload = b"".join(compressor.compress(bytes(2**20)) for _ in range(UNPACKED >> 20))
    payload += compressor.flush()
    change(path, f"UPDATE requests SET payload = x'{payload.hex()}'")  # noqa: S608


def _namespace(path: Path) -> None:
    """Add a request for a namespace that is not configured."""
    write_spool(path, namespace="Billing")


def _region(path: Path) -> None:
    """Add a request for a region that is not configured."""
    write_spool(path, region="eu-west-1")


def _link(path: Path) -> None:
    """Link to a spool elsewhere."""
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    write_spool(elsewhere / path.name)
    path.symlink_to(elsewhere / path.name)


def _writable(path: Path) -> None:
    """Let other users write."""
    write_spool(path)
    path.chmod(0o666)


def _owned(path: Path) -> None:
    """Let the file belong to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    write_spool(path)
    os.chown(path, 12345, 12345)


def _log(path: Path) -> None:
    """Link the file's log to a file elsewhere."""
    write_spool(path)
    (path.parent / "target").write_text("unchanged")
    Path(f"{path}-wal").symlink_to(path.parent / "target")


ATTACKS: dict[str, Callable[[Path], None]] = {
    function.__name__.strip("_"): function
    for function in (
        *(_view, _trigger, _bomb, _namespace, _region),
        *(_link, _writable, _owned, _log),
    )
}
"""Functions that plant a file at a path."""
