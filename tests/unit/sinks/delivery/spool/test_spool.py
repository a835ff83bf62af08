"""The spool keeps requests, in order, and lets go of them once."""

from __future__ import annotations

import stat
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.delivery.spool import rows as spool_rows
from neuron_exporter.sinks.delivery.spool.rows import Entry, pack, unpack
from tests.support.entries import HOUR, START, entry, name_of
from tests.support.spools import Shelf
from tests.support.spools import closed as closed

numbers = st.one_of(st.integers(), st.floats(allow_nan=False))


stamps = st.datetimes(timezones=st.just(UTC))


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
@settings(max_examples=50, deadline=None)
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
    shelf.spool.close()
    assert shelf.names() == []  # closed is closed
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


def test_a_stop_without_a_disk_counts_what_is_lost() -> None:
    """What was in memory at the end is counted as lost."""
    shelf = Shelf(None)
    shelf.add("a", "b")
    shelf.spool.close()
    assert shelf.lost == {"stopped": 2}


def test_a_damaged_request_costs_only_itself(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose checksum is wrong is dropped and counted; the next one is given."""
    monkeypatch.setattr(spool_rows.zlib, "compress", lambda data, _: b"\x78\x9cgarbage")
    shelf.add("a")
    monkeypatch.undo()
    shelf.spool.add(entry("b", START + 1))
    assert shelf.names() == ["b"]
    assert shelf.lost == {"corrupt": 1}
