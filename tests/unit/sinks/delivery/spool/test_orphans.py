"""Spool files of ended tasks are found, drained in place and deleted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.orphans import SCAN_INTERVAL
from neuron_exporter.sinks.delivery.spool.paths import ORPHAN_AGE, UNKNOWN, expand, orphans, problem
from tests.support.mounts import remount, tmpfs
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spool_requests import MINUTE, START, make_request, name_of
from tests.support.spooler import spool_command
from tests.support.spools import SpoolHarness
from tests.support.spools import close_spools as close_spools


def orphan_file(path: Path, *drain: str, age: float = ORPHAN_AGE + 1, live: str = "") -> Path:
    """Create the spool of an ended task, unchanged for `age` seconds before START. A request named
    `live` was in flight."""
    harness = SpoolHarness(path)
    for name in drain:
        harness.spool.add(make_request(name, START + len(name)))
    if live:
        harness.spool.add_in_flight(make_request(live))
    harness.spool.maintain()
    harness.spool.close()
    os.utime(path, (START - age, START - age))
    return path


def make_old(folder: Path) -> None:
    """Make all files of a directory look old."""
    for each in folder.iterdir():
        os.utime(each, (1, 1))


def spool_of(template: str, task: str = "mine") -> SpoolHarness:
    """Return the spool of a task."""
    return SpoolHarness(expand(template, {"task_id": task}), template=template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("/a/spool.db", ""),
        ("/a/{task_id}/{pod_uid}.db", ""),
        ("/a/{task}.db", "may contain the placeholders {task_id} and {pod_uid}"),
        ("/a/{task_id.db", "no other braces"),
        ("/a/}.db", "no other braces"),
        ("/a/{}", "may contain"),
        ("/", "must be the absolute path of a file (got '/')"),
        ("", "must be the absolute path of a file (got '')"),
        ("/nowhere/", "must be the absolute path of a file (got '/nowhere/')"),
        ("/nowhere/{task_id}/", "must be the absolute path of a file"),
        ("/nowhere/.", "must be the absolute path of a file"),
        ("/nowhere/..", "must be the absolute path of a file"),
        ("/usr", "must be the absolute path of a file, not of a directory (got '/usr')"),
        ("spool.db", "must be the absolute path of a file (got 'spool.db')"),
        ("./{task_id}/spool.db", "must be the absolute path of a file"),
        ("~/spool.db", "must be the absolute path of a file (got '~/spool.db')"),
    ],
)
def test_path_problems(template: str, message: str) -> None:
    assert message in problem(template)
    assert bool(message) == bool(problem(template))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("158d1c80", "158d1c80"),
        ("0f5c-b1_2", "0f5c-b1_2"),
        ("", UNKNOWN),
        ("../../etc/passwd", UNKNOWN),
        ("a b", UNKNOWN),
        ("x" * 200, UNKNOWN),
        ("a\n", UNKNOWN),
    ],
)
def test_placeholder_values(value: str, name: str) -> None:
    assert expand("/a/{task_id}/b.db", {"task_id": value}) == Path(f"/a/{name}/b.db")
    assert expand("/a/{pod_uid}", {"task_id": value}) == Path(f"/a/{UNKNOWN}")


def test_orphan_detection(tmp_path: Path) -> None:
    (tmp_path / "[x]").mkdir()
    old = ["spool-a.db", "spool-b.db", "spool-mine.db", "other.db", "spool-a.db-wal", "spool-.db"]
    old += ["spool-a.db.corrupt-1", "spool-c.d.db", "spool-new.db", "spool-log.db"]
    for number, name in enumerate(old):
        (tmp_path / "[x]" / name).touch()
        os.utime(tmp_path / "[x]" / name, (number, number))
    os.utime(tmp_path / "[x]" / "spool-new.db", (START, START))
    (tmp_path / "[x]" / "spool-log.db-wal").touch()  # written just now
    template = f"{tmp_path}/[x]/spool-{{task_id}}.db"
    own = expand(template, {"task_id": "mine"})
    assert [path.name for path in orphans(template, own, ORPHAN_AGE + 100)] == [
        "spool-b.db",
        "spool-a.db",  # its log was written later
    ]
    assert orphans(str(own), own, START) == []
    assert own not in orphans(template.replace("spool-", "/./spool-"), own, ORPHAN_AGE + 100)
    (tmp_path / "[x]" / "spool-folder.db").mkdir()
    os.utime(tmp_path / "[x]" / "spool-folder.db", (0, 0))
    assert len(orphans(template, own, ORPHAN_AGE + 100)) == 2
    template = f"{tmp_path}/[x]/spool-{{task_id}}"
    assert not [each for each in orphans(template, own, 1e12) if "-wal" in each.name]


def test_orphans_are_drained_and_deleted(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}" / "spool.db")
    first = orphan_file(expand(template, {"task_id": "a"}), "a", "aaa", live="live")
    second = orphan_file(expand(template, {"task_id": "b"}), "bb", age=ORPHAN_AGE + 2)
    harness = spool_of(template)
    harness.spool.add(make_request("mine", START + 2.5))
    sent = []
    with capture_logs() as log:
        for _ in range(10):
            harness.wait(MINUTE)
            if taken := harness.spool.take():
                sent.append(name_of(taken.request))
                harness.spool.discard(taken.key)
    assert sent == ["bb", "live", "a", "mine", "aaa"]
    assert harness.spool.ambiguous == 1
    assert not harness.lost
    assert not first.parent.exists()
    assert not second.parent.exists()
    assert [event["event"] for event in log] == ["spool_orphan_adopted", "spool_drained"] * 2
    harness.spool.close()
    assert [each.name for each in tmp_path.rglob("*.db")] == ["spool.db"]


def test_kill_while_draining_repeats_one_request(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    orphan = orphan_file(tmp_path / "a.db", "a", "aa", "aaa")
    harness = spool_of(template)
    harness.spool.maintain()
    taken = harness.spool.take()
    assert taken is not None
    harness.spool.discard(taken.key)
    assert harness.spool.take() is not None  # in flight at the end
    harness.spool.close()
    os.utime(orphan, (START - ORPHAN_AGE - 1, START - ORPHAN_AGE - 1))
    other = spool_of(template, "other")
    other.spool.maintain()
    assert other.drain() == ["aa", "aaa"]
    assert other.spool.ambiguous == 1


def test_locked_file_is_not_adopted(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    path = orphan_file(tmp_path / "a.db", "a")
    with (
        subprocess.Popen(
            spool_command(path, "", "hold"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as owner,
        ended(owner),
    ):
        assert owner.stdout is not None
        assert owner.stdout.readline() == "disk\n"
        for each in tmp_path.iterdir():
            os.utime(each, (1, 1))
        harness = spool_of(template)
        with capture_logs() as log:
            harness.spool.maintain()
        assert (len(harness.spool), log) == (0, [])
    for each in tmp_path.glob("a.db*"):
        os.utime(each, (1, 1))
    harness.wait(SCAN_INTERVAL)
    assert harness.drain() == ["a"]


def test_orphan_has_one_adopter(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    orphan_file(tmp_path / "a.db", "a", "aa")
    one, two = spool_of(template, "one"), spool_of(template, "two")
    one.spool.maintain()
    two.spool.maintain()
    assert two.drain() == []
    assert one.drain() == ["a", "aa"]
    one.wait(MINUTE)
    two.wait(SCAN_INTERVAL)
    assert two.drain() == []
    assert sorted(each.name for each in tmp_path.glob("*.db")) == ["one.db", "two.db"]


def test_recent_file_is_not_adopted(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    orphan_file(tmp_path / "a.db", "a", age=ORPHAN_AGE - 1)
    harness = spool_of(template)
    harness.spool.maintain()
    assert len(harness.spool) == 0
    harness.wait(SCAN_INTERVAL)
    assert harness.drain() == ["a"]


def test_corrupt_orphan_is_skipped(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    bad = tmp_path / "a.db"
    bad.write_text("garbage " * 1000)
    os.utime(bad, (0, 0))
    orphan_file(tmp_path / "b.db", "b")
    harness = spool_of(template)
    with capture_logs() as log:
        harness.spool.maintain()
        assert harness.drain() == ["b"]
        for _ in range(3):
            harness.wait(SCAN_INTERVAL)
    assert [event["event"] for event in log] == [
        "spool_orphan_skipped",
        "spool_orphan_adopted",
        "spool_drained",
    ]
    assert bad.read_text() == "garbage " * 1000
    assert harness.spool.state == "disk"


def test_deleted_orphan_is_forgotten(tmp_path: Path) -> None:
    """A later file at the path of a corrupt one is adopted."""
    template = str(tmp_path / "{task_id}.db")
    bad = tmp_path / "a.db"
    bad.write_text("garbage " * 1000)
    os.utime(bad, (0, 0))
    harness = spool_of(template)
    harness.spool.maintain()
    bad.unlink()
    harness.wait(SCAN_INTERVAL)
    orphan_file(bad, "a")
    harness.wait(SCAN_INTERVAL)
    assert harness.drain() == ["a"]


def test_read_only_orphan_is_retried(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}" / "spool.db")
    folder = tmp_path / "a"
    folder.mkdir()
    with tmpfs(folder, "1m"):
        orphan = orphan_file(folder / "spool.db", "a", "aa")
        remount(folder, "ro")
        harness = spool_of(template)
        with capture_logs() as log:
            for _ in range(3):
                harness.wait(SCAN_INTERVAL)
            assert (harness.drain(), harness.spool.state) == ([], "disk")
            assert [(e["event"], e.get("reason")) for e in log] == [
                ("spool_orphan_skipped", "read_only")
            ]

            remount(folder, "rw")
            harness.wait(SCAN_INTERVAL)
            assert len(harness.spool) == 2
            away = orphan.rename(folder / "away")
            assert harness.drain() == []
            away.rename(orphan)
            make_old(folder)
            harness.wait(SCAN_INTERVAL - 1)
            assert len(harness.spool) == 0
            harness.wait(SCAN_INTERVAL)
            assert harness.drain() == ["a", "aa"]
            harness.wait(MINUTE)
        assert [e["event"] for e in log] == ["spool_orphan_skipped", "spool_drained"]
        assert not orphan.exists()
        assert not harness.lost
        harness.spool.close()


def test_request_in_flight_is_not_taken_from_reopened_orphan(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}" / "spool.db")
    orphan = orphan_file(expand(template, {"task_id": "a"}), "a", "aa")
    (
        tmp_path / "mine"
    ).touch()  # a file in place of the directory: the request in flight cannot move to disk
    harness = spool_of(template)
    harness.spool.maintain()
    taken = harness.spool.take()
    assert taken is not None
    away = orphan.rename(tmp_path / "away")
    assert harness.spool.take() is None
    away.rename(orphan)
    for settled in (False, False, True):
        if settled:
            harness.spool.discard(taken.key)
        make_old(orphan.parent)
        harness.wait(SCAN_INTERVAL)
        assert harness.drain() == (["aa"] if settled else [])
    assert harness.spool.ambiguous == 0


def test_deleted_orphan_is_released(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    path = orphan_file(tmp_path / "a.db", "a", "aa")
    harness = spool_of(template)
    harness.spool.maintain()
    taken = harness.spool.take()
    assert taken is not None
    path.unlink()
    with capture_logs() as log:
        harness.spool.requeue(taken.key)
    assert [event["event"] for event in log] == ["spool_orphan_skipped"]
    assert harness.drain() == ["a"]
    assert harness.spool.state == "disk"
    harness.wait(SCAN_INTERVAL)
    assert harness.spool._disk is not None
    assert not harness.spool._disk._orphans._retry_at


def test_returning_owner_gets_new_file(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    orphan_file(tmp_path / "a.db", "a")
    harness, owner = spool_of(template), spool_of(template, "a")
    harness.spool.maintain()
    owner.spool.add(make_request("again"))
    assert "locked" in owner.spool.state
    assert harness.drain() == ["a"]
    harness.wait(MINUTE)
    owner.wait(MINUTE)
    assert owner.spool.state == "disk"
    owner.spool.close()
    assert spool_of(template, "a").drain() == ["again"]
