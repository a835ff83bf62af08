"""Files that other tasks left behind are found, drained where they are, and deleted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.orphans import SCAN_EVERY
from neuron_exporter.sinks.delivery.spool.paths import ORPHAN_AGE, UNKNOWN, expand, orphans, problem
from tests.support.entries import MINUTE, START, entry
from tests.support.mounts import remount, tmpfs
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spooler import spooler
from tests.support.spools import Shelf
from tests.support.spools import closed as closed


def left_behind(path: Path, *names: str, age: float = ORPHAN_AGE + 1, live: str = "") -> Path:
    """The spool of a task that has ended, unchanged for `age` seconds before the start; a request
    named `live` was in flight."""
    shelf = Shelf(path)
    for name in names:
        shelf.spool.add(entry(name, START + len(name), region=f"region of {name}"))
    if live:
        shelf.spool.keep(entry(live))
    shelf.spool.upkeep()
    shelf.spool.close()
    os.utime(path, (START - age, START - age))
    return path


def age(folder: Path) -> None:
    """What is in it looks as if nobody had written to it for long."""
    for each in folder.iterdir():
        os.utime(each, (1, 1))


def of(template: str, task: str = "mine") -> Shelf:
    """The spool of a task."""
    return Shelf(expand(template, {"task_id": task}), template=template)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("/a/spool.db", ""),
        ("/a/{task_id}/{pod_uid}.db", ""),
        ("/a/{task}.db", "may hold the placeholders {task_id} and {pod_uid}"),
        ("/a/{task_id.db", "no other braces"),
        ("/a/}.db", "no other braces"),
        ("/a/{}", "may hold"),
        ("/", "must be the absolute path of a file (got '/')"),
        ("", "must be the absolute path of a file (got '')"),
        ("/nowhere/", "must be the absolute path of a file (got '/nowhere/')"),
        ("/nowhere/{task_id}/", "must be the absolute path of a file"),
        ("/nowhere/.", "must be the absolute path of a file"),
        ("/nowhere/..", "must be the absolute path of a file"),
        ("/usr", "must be the absolute path of a file, and this is a folder (got '/usr')"),
        ("spool.db", "must be the absolute path of a file (got 'spool.db')"),
        ("./{task_id}/spool.db", "must be the absolute path of a file"),
        ("~/spool.db", "must be the absolute path of a file (got '~/spool.db')"),
    ],
)
def test_what_a_path_may_hold(template: str, why: str) -> None:
    """A wrong path is refused with a sentence that names what is allowed."""
    assert why in problem(template)
    assert bool(why) == bool(problem(template))


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
def test_what_replaces_a_placeholder(value: str, name: str) -> None:
    """A plain name replaces its placeholder; what is none, or not known, becomes `unknown`."""
    assert expand("/a/{task_id}/b.db", {"task_id": value}) == Path(f"/a/{name}/b.db")
    assert expand("/a/{pod_uid}", {"task_id": value}) == Path(f"/a/{UNKNOWN}")


def test_which_files_are_orphans(tmp_path: Path) -> None:
    """Only files that the path could stand for, that are not our own, and that are old enough."""
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
    """Each orphan's requests are sent in their order, where they belong; then its file goes."""
    template = str(tmp_path / "{task_id}" / "spool.db")
    first = left_behind(expand(template, {"task_id": "a"}), "a", "aaa", live="live")
    second = left_behind(expand(template, {"task_id": "b"}), "bb", age=ORPHAN_AGE + 2)
    shelf = of(template)
    shelf.spool.add(entry("mine", START + 2.5))
    sent = []
    with capture_logs() as said:
        for _ in range(10):
            shelf.wait(MINUTE)
            if kept := shelf.spool.next():
                sent.append((kept.entry.datums[0]["MetricName"], kept.entry.region))
                shelf.spool.settled(kept.key)
    assert sent == [
        ("bb", "region of bb"),
        ("live", "r-1"),
        ("a", "region of a"),
        ("mine", "r-1"),
        ("aaa", "region of aaa"),
    ]
    assert shelf.spool.ambiguous == 1
    assert not shelf.lost
    assert not first.parent.exists()
    assert not second.parent.exists()
    assert [event["event"] for event in said] == ["spool_adopted", "spool_drained"] * 2
    shelf.spool.close()
    assert [each.name for each in tmp_path.rglob("*.db")] == ["spool.db"]


def test_a_kill_while_draining_repeats_nothing_else(tmp_path: Path) -> None:
    """An adopted file that is let go of is an orphan still, without what was sent from it."""
    template = str(tmp_path / "{task_id}.db")
    orphan = left_behind(tmp_path / "a.db", "a", "aa", "aaa")
    shelf = of(template)
    shelf.spool.upkeep()
    kept = shelf.spool.next()
    assert kept is not None
    shelf.spool.settled(kept.key)
    assert shelf.spool.next() is not None  # in flight when it ends
    shelf.spool.close()
    os.utime(orphan, (START - ORPHAN_AGE - 1, START - ORPHAN_AGE - 1))
    other = of(template, "other")
    other.spool.upkeep()
    assert other.names() == ["aa", "aaa"]
    assert other.spool.ambiguous == 1


def test_a_file_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    """However old a file looks, while its exporter lives it is not adopted; after a kill it is."""
    template = str(tmp_path / "{task_id}.db")
    path = left_behind(tmp_path / "a.db", "a")
    with (
        subprocess.Popen(
            spooler(path, "", "hold"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as owner,
        ended(owner),
    ):
        assert owner.stdout is not None
        assert owner.stdout.readline() == "disk\n"
        for each in tmp_path.iterdir():
            os.utime(each, (1, 1))
        shelf = of(template)
        with capture_logs() as said:
            shelf.spool.upkeep()
        assert (len(shelf.spool), said) == (0, [])
    for each in tmp_path.glob("a.db*"):
        os.utime(each, (1, 1))
    shelf.wait(SCAN_EVERY)
    assert shelf.names() == ["a"]


def test_one_adopter_has_an_orphan(tmp_path: Path) -> None:
    """Two that find the same orphan do not both send it."""
    template = str(tmp_path / "{task_id}.db")
    left_behind(tmp_path / "a.db", "a", "aa")
    one, two = of(template, "one"), of(template, "two")
    one.spool.upkeep()
    two.spool.upkeep()
    assert two.names() == []
    assert one.names() == ["a", "aa"]
    one.wait(MINUTE)
    two.wait(SCAN_EVERY)
    assert two.names() == []
    assert sorted(each.name for each in tmp_path.glob("*.db")) == ["one.db", "two.db"]


def test_a_young_file_is_left_alone(tmp_path: Path) -> None:
    """A file that changed within ten minutes may be one that an exporter is about to lock."""
    template = str(tmp_path / "{task_id}.db")
    left_behind(tmp_path / "a.db", "a", age=ORPHAN_AGE - 1)
    shelf = of(template)
    shelf.spool.upkeep()
    assert len(shelf.spool) == 0
    shelf.wait(SCAN_EVERY)
    assert shelf.names() == ["a"]


def test_an_orphan_that_cannot_be_used_is_left_alone(tmp_path: Path) -> None:
    """A corrupt orphan stays as it is, is said once, and holds up no other."""
    template = str(tmp_path / "{task_id}.db")
    bad = tmp_path / "a.db"
    bad.write_text("garbage " * 1000)
    os.utime(bad, (0, 0))
    left_behind(tmp_path / "b.db", "b")
    shelf = of(template)
    with capture_logs() as said:
        shelf.spool.upkeep()
        assert shelf.names() == ["b"]
        for _ in range(3):
            shelf.wait(SCAN_EVERY)
    assert [event["event"] for event in said] == [
        "spool_orphan_left",
        "spool_adopted",
        "spool_drained",
    ]
    assert bad.read_text() == "garbage " * 1000
    assert shelf.spool.state == "disk"


def test_an_orphan_is_tried_again_after_trouble_that_passes(tmp_path: Path) -> None:
    """While its disk is read-only an orphan is tried once in ten minutes and spoken of once,
    whether it was adopted before or not; then it is drained."""
    template = str(tmp_path / "{task_id}" / "spool.db")
    folder = tmp_path / "a"
    folder.mkdir()
    with tmpfs(folder, "1m"):
        orphan = left_behind(folder / "spool.db", "a", "aa")
        remount(folder, "ro")
        shelf = of(template)
        with capture_logs() as said:
            for _ in range(3):
                shelf.wait(SCAN_EVERY)
            assert (shelf.names(), shelf.spool.state) == ([], "disk")
            assert [(e["event"], e.get("reason")) for e in said] == [
                ("spool_orphan_left", "read_only")
            ]

            remount(folder, "rw")
            shelf.wait(SCAN_EVERY)
            assert len(shelf.spool) == 2
            away = orphan.rename(folder / "away")
            assert shelf.names() == []
            away.rename(orphan)
            age(folder)
            shelf.wait(SCAN_EVERY - 1)
            assert len(shelf.spool) == 0
            shelf.wait(SCAN_EVERY)
            assert shelf.names() == ["a", "aa"]
            shelf.wait(MINUTE)
        assert [e["event"] for e in said] == ["spool_orphan_left", "spool_drained"]
        assert not orphan.exists()
        assert not shelf.lost
        shelf.spool.close()


def test_what_is_being_sent_is_not_taken_from_its_orphan_again(tmp_path: Path) -> None:
    """An orphan whose trouble has passed waits until the answer to its request has come, however
    long that takes; neither is the request sent twice nor counted as ambiguous."""
    template = str(tmp_path / "{task_id}" / "spool.db")
    orphan = left_behind(expand(template, {"task_id": "a"}), "a", "aa")
    (tmp_path / "mine").touch()  # so that what is in hand cannot move to our own file
    shelf = of(template)
    shelf.spool.upkeep()
    kept = shelf.spool.next()
    assert kept is not None
    away = orphan.rename(tmp_path / "away")
    assert shelf.spool.next() is None
    away.rename(orphan)
    for settled in (False, False, True):
        if settled:
            shelf.spool.settled(kept.key)
        age(orphan.parent)
        shelf.wait(SCAN_EVERY)
        assert shelf.names() == (["aa"] if settled else [])
    assert shelf.spool.ambiguous == 0


def test_an_orphan_that_breaks_is_let_go(tmp_path: Path) -> None:
    """When an adopted file is deleted, the request in hand is kept in our own."""
    template = str(tmp_path / "{task_id}.db")
    path = left_behind(tmp_path / "a.db", "a", "aa")
    shelf = of(template)
    shelf.spool.upkeep()
    kept = shelf.spool.next()
    assert kept is not None
    path.unlink()
    with capture_logs() as said:
        shelf.spool.returned(kept.key)
    assert [event["event"] for event in said] == ["spool_orphan_left"]
    assert shelf.names() == ["a"]
    assert shelf.spool.state == "disk"


def test_a_returning_owner_gets_a_new_file(tmp_path: Path) -> None:
    """An owner that comes back while its file is drained and deleted does not write into it."""
    template = str(tmp_path / "{task_id}.db")
    left_behind(tmp_path / "a.db", "a")
    shelf, owner = of(template), of(template, "a")
    shelf.spool.upkeep()
    owner.spool.add(entry("again"))
    assert "locked" in owner.spool.state
    assert shelf.names() == ["a"]
    shelf.wait(MINUTE)
    owner.wait(MINUTE)
    assert owner.spool.state == "disk"
    owner.spool.close()
    assert of(template, "a").names() == ["again"]
