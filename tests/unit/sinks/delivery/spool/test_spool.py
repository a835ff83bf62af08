"""The spool keeps requests in order and returns each once."""

from __future__ import annotations

import stat
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest, pack, unpack
from neuron_exporter.sinks.delivery.spool import rows as spool_rows
from tests.support.spool_requests import HOUR, START, make_request, name_of
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools

texts = st.text(max_size=255)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
lists = st.lists(numbers, max_size=150)


stamps = st.datetimes(timezones=st.just(UTC))


@pytest.fixture(params=["disk", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> SpoolHarness:
    """A spool with and without a file."""
    return SpoolHarness(tmp_path / "spool.db" if request.param == "disk" else None)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "MetricName": texts,
                "Timestamp": stamps,
                "Dimensions": st.lists(
                    st.fixed_dictionaries({"Name": texts, "Value": texts}), max_size=30
                ),
            },
            optional={"Value": numbers, "Values": lists, "Counts": lists},
        ),
        min_size=1,
    )
)
def test_unpack_reverses_pack(datums: list[Datum]) -> None:
    written = PutMetricDataRequest("N", "us-east-1", START, datums)
    read = unpack(pack(written))
    assert read == written or any(abs(v) >= 2**63 for v in _integers(datums))
    assert read.stamp == written.stamp


def _integers(datums: list[Datum]) -> list[int]:
    found = [datum.get("Value") for datum in datums]
    found += [v for d in datums for key in ("Values", "Counts") for v in d.get(key, ())]
    return [value for value in found if isinstance(value, int)]


def test_large_integers_become_doubles() -> None:
    datum = {**make_request().items[0], "Values": [2**70, -(2**80), 3]}
    assert unpack(pack(PutMetricDataRequest("N", "r", START, [datum]))).items[0]["Values"] == [
        2.0**70,
        -(2.0**80),
        3,
    ]


def test_oldest_request_is_next(harness: SpoolHarness) -> None:
    for name, stamp in (("b", 2), ("c", 3), ("a", 1)):
        harness.spool.add(make_request(name, START + stamp))
    assert len(harness.spool) == 3
    taken = harness.spool.take()
    assert taken is not None
    assert taken.request == make_request("a", START + 1)
    assert len(harness.spool) == 2
    harness.spool.requeue(taken.key)
    assert harness.drain() == ["a", "b", "c"]
    assert len(harness.spool) == 0
    assert harness.spool.take() is None


def test_request_in_flight_is_not_taken_again(harness: SpoolHarness) -> None:
    key = harness.spool.add_in_flight(make_request("a"))
    assert len(harness.spool) == 0
    assert harness.spool.take() is None
    harness.spool.requeue(key)
    taken = harness.spool.take()
    assert taken is not None
    assert name_of(taken.request) == "a"
    harness.spool.discard(taken.key)
    assert harness.drain() == []


def test_failed_request_goes_behind_others(harness: SpoolHarness) -> None:
    harness.add("bad", "x", "y")
    for failures in range(2):
        taken = harness.spool.take()
        assert taken is not None
        assert (name_of(taken.request), taken.failures) == ("bad" if not failures else "x", 0)
        harness.spool.requeue(taken.key, failed=not failures)
    assert harness.drain() == ["x", "y", "bad"]


def test_failures_survive_restart(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.add("bad")
    for _ in range(3):
        taken = harness.spool.take()
        assert taken is not None
        harness.spool.requeue(taken.key, failed=True)
    harness.spool.close()
    taken = SpoolHarness(tmp_path / "spool.db").spool.take()
    assert taken is not None
    assert taken.failures == 3


def test_orderly_stop_leaves_nothing_ambiguous(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.add("a", "b")
    harness.spool.discard(harness.spool.add_in_flight(make_request("c")))
    harness.spool.requeue(harness.spool.add_in_flight(make_request("d", START + HOUR)))
    harness.spool.close()
    assert [each.name for each in tmp_path.iterdir()] == ["spool.db"]
    harness.spool.close()
    assert harness.drain() == []
    again = SpoolHarness(tmp_path / "spool.db")
    with capture_logs() as log:
        again.spool.maintain()
    assert [event["event"] for event in log] == ["spool_found"]
    assert (len(again.spool), again.spool.ambiguous, again.spool.oldest) == (2 + 1, 0, START)
    assert again.drain() == ["a", "b", "d"]


def test_request_found_in_flight_is_ambiguous(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.spool.add_in_flight(make_request("a"))
    harness.spool.close()
    again = SpoolHarness(tmp_path / "spool.db")
    assert again.drain() == ["a"]
    assert again.spool.ambiguous == 1


def test_files_are_private(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "new" / "folder" / "spool.db")
    harness.add("a")
    folder = tmp_path / "new" / "folder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {each.name for each in folder.iterdir()} == {"spool.db", "spool.db-wal"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_stop_without_disk_counts_lost_requests() -> None:
    harness = SpoolHarness(None)
    harness.add("a", "b")
    harness.spool.close()
    assert harness.lost == {"stopped": 2}


def test_damaged_request_is_dropped_alone(
    harness: SpoolHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_rows.zlib, "compress", lambda data, _: b"\x78\x9cgarbage")
    harness.add("a")
    monkeypatch.undo()
    harness.spool.add(make_request("b", START + 1))
    assert harness.drain() == ["b"]
    assert harness.lost == {"corrupt": 1}
