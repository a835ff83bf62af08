"""The spool keeps requests, in order and within bounds, and lets go of them once."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.sinks.cloudwatch import spool_rows
from exporter.sinks.cloudwatch.datums import Datum
from exporter.sinks.cloudwatch.spool import MOST_IN_MEMORY, QUIET
from exporter.sinks.cloudwatch.spool_rows import Entry, Memory, pack, unpack
from tests.support.spools import DAY, HOUR, MIB, MINUTE, START, Shelf, entry, name_of

KIB = 1024
NOISE = 100  # numbers: about 800 bytes

numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
stamps = st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)


@pytest.fixture(params=["disk", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """A spool with and without a file."""
    return Shelf(tmp_path / "spool.db" if request.param == "disk" else None)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "MetricName": st.text(),
                "Timestamp": stamps,
                "Dimensions": st.lists(st.dictionaries(st.text(), st.text(), max_size=2)),
            },
            optional={"Value": numbers, "Values": st.lists(numbers), "Counts": st.lists(numbers)},
        ),
        min_size=1,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_is_read_equals_what_was_written(datums: list[Datum]) -> None:
    """Numbers to the last bit, stamps, and texts of any kind come back as they were sent."""
    written = Entry("N", "us-east-1", datums)
    read = unpack(pack(written))
    assert read == written or any(abs(v) >= 2**63 for v in _integers(datums))
    assert read.stamp == written.stamp


def _integers(datums: list[Datum]) -> list[int]:
    found = [datum.get("Value") for datum in datums]
    found += [v for d in datums for key in ("Values", "Counts") for v in d.get(key, ())]
    return [value for value in found if isinstance(value, int)]


def test_integers_that_are_too_long_are_kept_as_doubles() -> None:
    """CloudWatch takes doubles: an integer of any size is no reason to lose a request."""
    datum = {**entry().datums[0], "Values": [2**70, -(2**80), 3]}
    assert unpack(pack(Entry("N", "r", [datum]))).datums[0]["Values"] == [2.0**70, -(2.0**80), 3]


def test_the_oldest_is_next(shelf: Shelf) -> None:
    """Requests come oldest first, however they were added, with where they belong."""
    for name, stamp in (("b", 2), ("c", 3), ("a", 1)):
        shelf.spool.add(entry(name, START + stamp, region=f"region-{name}"))
    assert len(shelf.spool) == 3
    kept = shelf.spool.next()
    assert kept is not None
    assert kept.entry == entry("a", START + 1, region="region-a")
    assert len(shelf.spool) == 2
    shelf.spool.returned(kept.key)
    assert shelf.names() == ["a", "b", "c"]
    assert len(shelf.spool) == 0
    assert shelf.spool.next() is None


def test_what_is_in_flight_is_nobody_elses(shelf: Shelf) -> None:
    """A request that is being sent is not given out again, until it is returned."""
    key = shelf.spool.keep(entry("a"))
    assert len(shelf.spool) == 0
    assert shelf.spool.next() is None
    shelf.spool.returned(key)
    kept = shelf.spool.next()
    assert kept is not None
    assert name_of(kept.entry) == "a"
    shelf.spool.settled(kept.key)
    assert shelf.names() == []


def test_a_request_that_fails_alone_holds_up_none(shelf: Shelf) -> None:
    """What failed while others were delivered goes behind those that failed less often."""
    shelf.add("bad", "x", "y")
    for failures in range(2):
        kept = shelf.spool.next()
        assert kept is not None
        assert (name_of(kept.entry), kept.failures) == ("bad" if not failures else "x", 0)
        shelf.spool.returned(kept.key, failed=not failures)
    assert shelf.names() == ["x", "y", "bad"]


def test_failures_survive_a_restart(tmp_path: Path) -> None:
    """How often a request failed is known after a restart, so that it is given up in the end."""
    shelf = Shelf(tmp_path / "spool.db")
    shelf.add("bad")
    for _ in range(3):
        kept = shelf.spool.next()
        assert kept is not None
        shelf.spool.returned(kept.key, failed=True)
    shelf.spool.close()
    kept = Shelf(tmp_path / "spool.db").spool.next()
    assert kept is not None
    assert kept.failures == 3


def test_a_stop_leaves_nothing_in_doubt(tmp_path: Path) -> None:
    """After an orderly stop what is pending is found again, and nothing is ambiguous."""
    shelf = Shelf(tmp_path / "spool.db")
    shelf.add("a", "b")
    shelf.spool.settled(shelf.spool.keep(entry("c")))
    shelf.spool.returned(shelf.spool.keep(entry("d", START + HOUR)))
    shelf.spool.close()
    assert [each.name for each in tmp_path.iterdir()] == ["spool.db"]
    again = Shelf(tmp_path / "spool.db")
    with capture_logs() as said:
        again.spool.upkeep()
    assert [event["event"] for event in said] == ["spool_found"]
    assert (len(again.spool), again.spool.ambiguous, again.spool.oldest) == (2 + 1, 0, START)
    assert again.names() == ["a", "b", "d"]


def test_what_was_in_flight_is_ambiguous(tmp_path: Path) -> None:
    """A request that was being sent when the file was let go of is sent again, and counted."""
    shelf = Shelf(tmp_path / "spool.db")
    shelf.spool.keep(entry("a"))
    shelf.spool.close()
    again = Shelf(tmp_path / "spool.db")
    assert again.names() == ["a"]
    assert again.spool.ambiguous == 1


def test_only_this_user_reads_the_file(tmp_path: Path) -> None:
    """The file and its log have rights for their owner alone, as has a folder that is made."""
    shelf = Shelf(tmp_path / "new" / "folder" / "spool.db")
    shelf.add("a")
    folder = tmp_path / "new" / "folder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {each.name for each in folder.iterdir()} == {"spool.db", "spool.db-wal"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("max_bytes", [64 * KIB, 300 * KIB, 3 * MIB])
def test_the_disk_holds_no_more_than_it_may(tmp_path: Path, max_bytes: int) -> None:
    """The file and its log together never exceed the bound; the oldest are dropped, and counted."""
    shelf = Shelf(tmp_path / "spool.db", max_bytes)
    added = max_bytes // 500
    sizes, noises = [], (NOISE, 0, NOISE, 3 * NOISE)
    with capture_logs() as said:
        for number in range(added):
            shelf.spool.add(entry(str(number), START + number, noises[number % 4]))
            sizes.append(shelf.size())
            if number % 10 == 0:
                key = shelf.spool.keep(entry("live", START + number, NOISE))
                shelf.spool.upkeep()
                shelf.spool.settled(key)
                sizes.append(shelf.size())
    assert max(sizes) <= max_bytes
    assert shelf.spool.state == "disk"
    assert shelf.spool.bytes == shelf.size()
    assert [(event["event"], event["reason"]) for event in said] == [
        ("spool_dropping", "spool_full")
    ]
    kept = len(shelf.spool)
    shelf.spool.confirm_clock()
    shelf.wait(14 * DAY + added - kept // 2)
    while len(shelf.spool) > kept - kept // 2 and shelf.lost["too_old"] < kept:
        shelf.wait(0)
        assert shelf.size() <= max_bytes
    shelf.wall = START
    left = shelf.names()
    assert left == [str(number) for number in range(added - len(left), added)]
    assert len(left) + shelf.lost.pop("too_old") == kept
    left = [""] * kept
    assert shelf.lost == {"spool_full": added - len(left)}
    assert len(left) * 1000 > max_bytes // 8  # a small file holds little beside its indexes and log


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


def test_a_stop_without_a_disk_counts_what_is_lost() -> None:
    """What was in memory at the end is counted as lost."""
    shelf = Shelf(None)
    shelf.add("a", "b")
    shelf.spool.close()
    assert shelf.lost == {"stopped": 2}


def test_what_is_too_old_is_dropped(shelf: Shelf) -> None:
    """Under a clock that CloudWatch confirmed, age drops what would be refused, and counts it."""
    shelf.add("a", "b")
    shelf.spool.add(entry("c", START + DAY))
    shelf.spool.confirm_clock()
    shelf.wait(14 * DAY + 0.5)
    assert shelf.lost == {"too_old": 1}
    shelf.spool._max_age = 13.9 * DAY
    with capture_logs() as said:
        shelf.wait(0)
    assert (shelf.lost, said) == ({"too_old": 2}, [])  # it had been said
    shelf.wait(QUIET)
    shelf.spool.add(entry("d", START))
    with capture_logs() as said:
        shelf.wait(0)
    assert [event["reason"] for event in said] == ["too_old"]


@pytest.mark.parametrize("wrong", [0.0, START - 5 * HOUR, START + 20 * DAY, START + 1000 * DAY])
def test_a_wrong_clock_drops_nothing(shelf: Shelf, wrong: float) -> None:
    """While the clock is wrong what was kept waits; once it is right, it is sent."""
    shelf.add("a", "b")
    shelf.spool.confirm_clock()
    shelf.wall = wrong
    for _ in range(100):
        shelf.wait(HOUR / 100)
    assert shelf.spool.next() is None
    shelf.wall = START + HOUR
    shelf.wait(0)
    assert shelf.names() == ["a", "b"]
    assert not shelf.lost


def test_a_start_under_a_wrong_clock_drops_nothing(tmp_path: Path) -> None:
    """A machine that boots in 1970 keeps what it finds, and drops what it stamped itself then."""
    shelf = Shelf(tmp_path / "spool.db")
    shelf.add("a")
    shelf.spool.close()
    booted = Shelf(tmp_path / "spool.db", wall=0.0)
    booted.wait(MINUTE)
    booted.spool.add(entry("of 1970", 30))
    booted.wait(MINUTE)
    assert not booted.lost
    booted.wall = START + HOUR
    booted.wait(0)
    assert booted.names() == ["a"]
    booted.spool.confirm_clock()
    booted.wait(0)
    assert booted.lost == {"too_old": 1}


def test_what_a_wrong_clock_stamped_ahead_is_dropped(shelf: Shelf) -> None:
    """Requests from a future that never was do not stay for ever."""
    shelf.spool.add(entry("of 2040", START + 5000 * DAY))
    shelf.wait(DAY)
    assert not shelf.lost
    shelf.spool.confirm_clock()
    shelf.wait(MINUTE)
    assert shelf.lost == {"too_far_ahead": 1}


def test_a_damaged_request_costs_only_itself(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose checksum is wrong is dropped and counted; the next one is given."""
    monkeypatch.setattr(spool_rows.zlib, "compress", lambda data, _: b"\x78\x9cgarbage")
    shelf.add("a")
    monkeypatch.undo()
    shelf.spool.add(entry("b", START + 1))
    assert shelf.names() == ["b"]
    assert shelf.lost == {"corrupt": 1}


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
