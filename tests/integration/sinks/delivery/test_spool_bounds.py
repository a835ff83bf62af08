"""The spool stays within its size limits, on disk and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.cloudwatch.request import pack
from neuron_exporter.sinks.delivery.spool.rows import MemoryQueue
from neuron_exporter.sinks.delivery.spool.spool import MAX_IN_MEMORY
from tests.support.spool_requests import DAY, MIB, MINUTE, START, make_request
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools

KIB = 1024
NOISE = 100  # numbers: about 800 bytes


@pytest.mark.parametrize("max_bytes", [64 * KIB, 300 * KIB, MIB])
def test_size_on_disk_is_limited(tmp_path: Path, max_bytes: int) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", max_bytes)
    added = 400
    sizes, noises = [], (NOISE, 0, max_bytes // 400)
    with capture_logs() as log:
        for number in range(added):
            harness.spool.add(make_request(str(number), START + number, noises[number % 3]))
            sizes.append(harness.size())
            if number % 10 == 0:
                key = harness.spool.add_in_flight(make_request("live", START + number, NOISE))
                harness.spool.maintain()
                harness.spool.discard(key)
                sizes.append(harness.size())
    assert max_bytes // 3 < max(sizes) <= max_bytes
    assert harness.spool.state == "disk"
    assert harness.spool.bytes == harness.size()
    assert [(event["event"], event["reason"]) for event in log] == [
        ("spool_requests_dropped", "spool_full")
    ]
    taken = len(harness.spool)
    assert harness.lost == {"spool_full": added - taken}
    assert harness.drain() == [str(number) for number in range(added - taken, added)]
    assert harness.size() <= max_bytes


def test_full_file_drops_oldest_stamp_first(tmp_path: Path) -> None:
    """Also where older requests were written later, as after an adoption or a salvage."""
    harness = SpoolHarness(tmp_path / "spool.db", 64 * KIB)
    stamps = list(range(0, 200, 2)) + list(range(199, 0, -2))
    for number in stamps:
        harness.spool.add(make_request(str(number), START + number, NOISE))
    kept = sorted(map(int, harness.drain()))
    assert kept[0] == 1, "written last, after room was made for it"
    assert kept[1:] == list(range(201 - len(kept), 200))
    assert harness.lost == {"spool_full": 200 - len(kept)}


def test_largest_legal_request_fits_default(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", 256 * MIB)
    large = make_request("large", noise=110_000)
    harness.spool.add(large)
    assert harness.spool.state == "disk"
    assert harness.size() > 800_000
    harness.spool.close()
    taken = SpoolHarness(tmp_path / "spool.db", 256 * MIB).spool.take()
    assert taken is not None
    assert taken.request == large


def test_too_large_request_stays_in_memory(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", 64 * KIB)
    harness.spool.requeue(harness.spool.add_in_flight(make_request("a", noise=3000)))
    assert harness.size() < 64 * KIB
    assert len(harness.spool) == 1
    assert harness.drain() == ["a"]
    harness.spool.requeue(harness.spool.add_in_flight(make_request("b", noise=30_000)))
    assert harness.drain() == []
    assert harness.lost == {"spool_full": 1}


def test_lowered_size_limit_shrinks_file(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", 4 * MIB)
    harness.fill(1000)
    harness.spool.close()
    assert harness.size() > MIB
    lower = SpoolHarness(tmp_path / "spool.db", 256 * KIB)
    lower.spool.maintain()
    assert lower.size() <= 256 * KIB
    names = lower.drain()
    assert names == list(map(str, range(1000 - len(names), 1000)))
    assert lower.lost == {"spool_full": 1000 - len(names)}


def test_free_space_is_returned(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", 16 * MIB)
    harness.fill(4000)
    before = harness.size()
    assert 4 * MIB < before < 16 * MIB
    harness.spool.confirm_clock()
    for _ in range(30):
        harness.wait(DAY)
        assert harness.size() <= 16 * MIB
    assert harness.lost == {"too_old": 4000}
    for _ in range(10):
        harness.wait(MINUTE)
    assert harness.size() < 2.1 * MIB


def test_size_in_memory_is_limited() -> None:
    harness = SpoolHarness(None, 64 * KIB)
    harness.add(*map(str, range(200)), noise=NOISE)
    assert harness.spool.bytes <= 64 * KIB
    assert harness.spool.state == "memory: no path is configured"
    names = harness.drain()
    assert names == list(map(str, range(200 - len(names), 200)))
    assert harness.lost == {"spool_full": 200 - len(names)}
    assert harness.spool.bytes == 0
    assert SpoolHarness(None, 256 * MIB).spool._memory.max_bytes == MAX_IN_MEMORY


def test_memory_drops_oldest_regardless_of_order() -> None:
    old, new = pack(make_request("old"))._replace(failures=3), pack(make_request("new", START + 1))
    memory = MemoryQueue(new.size + 1)
    memory.add(old)
    assert memory.add(new) == 1
    assert list(memory) == [new]


def test_queries_use_indexes(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db", 64 * MIB)
    harness.fill(10, noise=0)
    harness.wall += DAY
    assert harness.spool._disk is not None
    store = harness.spool._disk._file.store
    assert store is not None
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    taken = harness.spool.take()
    assert taken is not None
    harness.spool.requeue(taken.key)
    store.oldest()
    store._connection.set_trace_callback(None)
    queries = [each for each in statements if each.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(queries) == 5
    for query in queries:
        plan = store._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert all("SEARCH" in step[3] for step in plan), (query, plan)
