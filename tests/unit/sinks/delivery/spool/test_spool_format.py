"""The format of spool files is stable: a new version reads and writes files like an old one."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest, pack
from tests.support.spool_requests import MINUTE, START
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools

# Written on 2026-11-28 by the version before the package was renamed to `neuron_exporter`: a
# pending request, one that has failed, and one in flight.
SCHEMA_1 = (
    "eNrtmE1oE0EUx2d2Nkk3KEhRgkhwQIqJbdW2tqWoaGK3Uptua7J+pErrtpnU1TRpdzfSeBCjIPhxkCKKiIIognj2A+1B"
    "KbQYSxH0oOBBKnrwA9RiFRFxtsmqDfULPIX5sZPZ3bfz8n+PvJ1HQhsDqkFwNKH1KAauAjzgOLAWYwAAosMBfsDnBsjd"
    "h9aQxK0ymBkElnbB2fTEBgcBGuKuc4Rz0lPGfyBgs7vmu2GfGo+Q/s5Uh9JNNNKXJLqhO9YFRZ8s4kapXtyKszbcImHL"
    "jj1qvCMaU7t3GmVYN5SeXm+Yd7gWuGHaYbkzklrcet6e7880/tJhVFFjSY3olutWZHeVlsKwoXTGiN4Xo7+4Dt1cGO/K"
    "v7Tlvkj2+QMizjN64koPKaNX3gMC53C53fAgmfJpqbBmfpqXHxqdmKJGaBiyuF4M4tZgY7MvGMZNYhj7NsktjRJd2CxK"
    "cln2SSuk7wukFhlLmwKBrN2K8xfmqeAxVRLIM5hh6L1KF8EyLZ08o0a61UR8JkuvkoollAj2B1r8301O70pod82bB7dN"
    "ZSKqZgealgHzDvYYid0kz7HXLGAw0weDwSh4zL0ZoteAHgwGo4Aphlx5TQWpjtQqy5UVkTqlsrrOrH/E1QPUxo3RicH4"
    "Z9IOJAChiPcuTAdJ6F1EIkktERf7exOaQbSkXk4U3Siv6IdnHt3M1F696Kl6vKyiNkmi5/xtUnRvw90lp0afPBwcH/0y"
    "OH64uWmtdmXVxJGm4omB0OrQyUMlL05cWjr2sHr7fE62zx0rvzG5pvpTV2bg/uDowHN4Wbx7OVUyhxwDDQ1LPqQFTgBF"
    "gqlkMwm9ff2XSsJtnVFpVyZPRvGfZQydKTmfOl1yDwWPDoQmNuCMdItfvh+C+vWlI+lFkGoxs3LASbPi+Y2Waz9pSfl2"
    "tW+Itn/OE1P5ZzEXhqfl5N7tzJHFZ/ccV8DBB5Nb1t3ZcVrfp7YLrcNfkTwM/VUAjMRqXmb3//eAHgwGo+CZBZEbWn+J"
    "IKe5/6OnAE2iV3RiMBgFhNNGGzNodmXIaaOdETTbIk6w0cZEMLuSbP0/A+gN+kgnBoNRWAi8kHsDCHxR7gVQxOfq/xsI"
    "aKUI"
)


def request(name: str, stamp: float, **values: Any) -> PutMetricDataRequest:
    """Return a request as the old version wrote it."""
    datum = {
        "MetricName": name,
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
        "Timestamp": datetime.fromtimestamp(stamp, UTC),
        "Unit": "Percent",
        **values,
    }
    return PutMetricDataRequest("NeuronExporter", "us-east-1", stamp, [datum])


PENDING = request("pending", START, Values=[7.0, 1 / 3], Counts=[1.0, 2.0])
FAILED = request("failed", START - MINUTE, Value=2.0**70)
IN_FLIGHT = request("in flight", START + MINUTE, Value=1)


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A spool file of the old version."""
    path = tmp_path / "old.db"
    path.write_bytes(zlib.decompress(base64.b64decode(SCHEMA_1)))
    return path


def content(path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the settings, the tables and the rows of a spool file, payloads decompressed."""
    pragmas = ("application_id", "user_version", "page_size", "auto_vacuum", "journal_mode")
    with closing(sqlite3.connect(path)) as connection:
        return (
            [connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas],
            connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 2").fetchall(),
            [
                (*columns, zlib.decompress(payload))
                for *columns, payload in connection.execute("SELECT * FROM requests ORDER BY id")
            ],
        )


def test_old_file_is_read(old_file: Path) -> None:
    harness = SpoolHarness(old_file, region="us-east-1")
    harness.spool.maintain()
    assert harness.spool.state == "disk"
    assert harness.spool.ambiguous == 1
    taken = [harness.spool.take() for _ in range(3)]
    assert [(each.request, each.failures) for each in taken if each] == [
        (PENDING, 0),
        (IN_FLIGHT, 0),
        (FAILED, 1),
    ]


def test_new_file_equals_old_file(old_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    harness = SpoolHarness(path, region="us-east-1")
    harness.spool.add(PENDING)
    harness.spool.add(FAILED)
    taken = harness.spool.take()
    assert taken is not None
    harness.spool.requeue(taken.key, failed=True)
    harness.spool.add_in_flight(IN_FLIGHT)
    harness.spool.close()
    assert content(path) == content(old_file)


def test_large_integers_are_packed_as_doubles() -> None:
    assert pack(request("failed", START, Value=2**70)) == pack(
        request("failed", START, Value=2.0**70)
    )
