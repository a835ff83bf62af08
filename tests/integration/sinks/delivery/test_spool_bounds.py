"""The spool takes no more room than it may, on disk and in memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.rows import Memory, pack
from neuron_exporter.sinks.delivery.spool.spool import MOST_IN_MEMORY
from tests.support.entries import DAY, MIB, MINUTE, START, entry
from tests.support.spools import Shelf
from tests.support.spools import closed as closed

KIB = 1024
NOISE = 100  # numbers: about 800 bytes


@pytest.mark.parametrize("max_bytes", [64 * KIB, 300 * KIB, MIB])
def test_the_disk_holds_no_more_than_it_may(tmp_path: Path, max_bytes: int) -> None:
    """The file and its log together never exceed the bound; the oldest are dropped, and counted."""
    shelf = Shelf(tmp_path / "spool.db", max_bytes)
    added = 400
    sizes, noises = [], (NOISE, 0, max_bytes // 400)
    with capture_logs() as said:
        for number in range(added):
            shelf.spool.add(entry(str(number), START + number, noises[number % 3]))
            sizes.append(shelf.size())
            if number % 10 == 0:
                key = shelf.spool.keep(entry("live", START + number, NOISE))
                shelf.spool.upkeep()
                shelf.spool.settled(key)
                sizes.append(shelf.size())
    assert max_bytes // 3 < max(sizes) <= max_bytes
    assert shelf.spool.state == "disk"
    assert shelf.spool.bytes == shelf.size()
    assert [(event["event"], event["reason"]) for event in said] == [
        ("spool_dropping", "spool_full")
    ]
    kept = len(shelf.spool)
    assert shelf.lost == {"spool_full": added - kept}
    assert shelf.names() == [str(number) for number in range(added - kept, added)]
    assert shelf.size() <= max_bytes


def test_the_largest_legal_request_fits_the_default(tmp_path: Path) -> None:
    """A request of a megabyte that cannot be packed is kept on disk."""
    shelf = Shelf(tmp_path / "spool.db", 256 * MIB)
    large = entry("large", noise=110_000)
    shelf.spool.add(large)
    assert shelf.spool.state == "disk"
    assert shelf.size() > 800_000
    shelf.spool.close()
    kept = Shelf(tmp_path / "spool.db", 256 * MIB).spool.next()
    assert kept is not None
    assert kept.entry == large


def test_what_is_too_large_for_the_disk_waits_in_memory(tmp_path: Path) -> None:
    """With a small bound, a request that the file cannot take is still sent again, or counted."""
    shelf = Shelf(tmp_path / "spool.db", 64 * KIB)
    shelf.spool.returned(shelf.spool.keep(entry("a", noise=3000)))
    assert shelf.size() < 64 * KIB
    assert len(shelf.spool) == 1
    assert shelf.names() == ["a"]
    shelf.spool.returned(shelf.spool.keep(entry("b", noise=30_000)))
    assert shelf.names() == []
    assert shelf.lost == {"spool_full": 1}


def test_a_lower_bound_is_kept_from_the_start(tmp_path: Path) -> None:
    """A file that is larger than the bound became is made smaller when it is opened."""
    shelf = Shelf(tmp_path / "spool.db", 4 * MIB)
    shelf.fill(1000)
    shelf.spool.close()
    assert shelf.size() > MIB
    lower = Shelf(tmp_path / "spool.db", 256 * KIB)
    lower.spool.upkeep()
    assert lower.size() <= 256 * KIB
    names = lower.names()
    assert names == list(map(str, range(1000 - len(names), 1000)))
    assert lower.lost == {"spool_full": 1000 - len(names)}


def test_space_is_given_back(tmp_path: Path) -> None:
    """When the outage is over, the file becomes small again."""
    shelf = Shelf(tmp_path / "spool.db", 16 * MIB)
    shelf.fill(4000)
    before = shelf.size()
    assert 4 * MIB < before < 16 * MIB
    shelf.spool.confirm_clock()
    for _ in range(30):
        shelf.wait(DAY)
        assert shelf.size() <= 16 * MIB
    assert shelf.lost == {"too_old": 4000}
    for _ in range(10):
        shelf.wait(MINUTE)
    assert shelf.size() < 2.1 * MIB


def test_memory_is_bounded_too() -> None:
    """Without a file, the oldest are dropped before the spool holds more than its share."""
    shelf = Shelf(None, 64 * KIB)
    shelf.add(*map(str, range(200)), noise=NOISE)
    assert shelf.spool.bytes <= 64 * KIB
    assert shelf.spool.state == "memory: no path is configured"
    names = shelf.names()
    assert names == list(map(str, range(200 - len(names), 200)))
    assert shelf.lost == {"spool_full": 200 - len(names)}
    assert shelf.spool.bytes == 0
    assert Shelf(None, 256 * MIB).spool._memory.max_bytes == MOST_IN_MEMORY


def test_memory_drops_by_age_and_gives_by_turn() -> None:
    """The oldest is dropped even if its turn is last."""
    old, new = pack(entry("old"))._replace(failures=3), pack(entry("new", START + 1))
    memory = Memory(new.size + 1)
    memory.add(old)
    assert memory.add(new) == 1
    assert list(memory) == [new]


def test_a_write_takes_no_longer_than_a_sync(tmp_path: Path) -> None:
    """With ten thousand requests waiting, keeping and taking one are as quick as with none."""
    shelf = Shelf(tmp_path / "spool.db", 64 * MIB)
    shelf.fill(10_000, noise=0)
    shelf.wall += DAY
    began = time.perf_counter()
    for _ in range(20):
        kept = shelf.spool.next()
        assert kept is not None
        shelf.spool.returned(kept.key)
    assert (time.perf_counter() - began) / 20 < 0.1
    assert len(shelf.spool) == 10_000
