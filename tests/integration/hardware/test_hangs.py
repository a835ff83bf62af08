"""The reader of the driver's files, on trees with devices that hang."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuron_exporter.facts.driver_files import DEVICE_FILES
from neuron_exporter.hardware.sysfs import MAX_HANGING
from tests.support.sysfs_reader import (
    POWER,
    REPAIRABLE,
    answer,
    events,
    hang,
    place,
    reading,
    set_value,
    writer_of_opened,
)
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

HEALTH = DEVICE_FILES["unhealthy_components"]
FAILED = "neuron_core0/stats/other_info/reset_fail_count/total"


def test_a_hanging_device_costs_only_itself(tmp_path: Path, log: list[Any]) -> None:
    """However many of its files hang, another thread goes on with the other devices. They are not
    searched again, and the device is read again once it answers."""
    tree = write_tree(tmp_path / "sysfs", range(3), 8)
    with reading(tree) as rig:
        rig.wait_for_readings(lambda found: len(found) == 3)
        (tree / "neuron1" / "unknown").touch()  # which another search would report
        pipes = [place(tree, 0, path) for path in (POWER, REPAIRABLE, FAILED, HEALTH)]
        for pipe in pipes:
            hang(pipe)
        rig.wait_for_readings(lambda found: [*found] == [1, 2])
        rig.wait_for_passes(tree, 1)
        rig.wait_for_passes(tree, 2)
        assert len(events(log, "sysfs_file_hangs")) == 1
        assert rig.threads() == 2
        assert not events(log, "sysfs_paths_unclear")
        for pipe in pipes:
            answer(pipe, "POWER_STATUS_VALID,1,0.00,0.00,77.00" if pipe == pipes[0] else "0")
        found = rig.wait_for_readings(lambda found: 0 in found)
        assert found[0].power["avg"] == 0.77
        rig.wait_for(lambda: rig.threads() == 1)
        assert rig.errors.count("hanging") == len(events(log, "sysfs_file_hangs")) == 1


def test_a_slow_device_is_left_out_for_some_time(tmp_path: Path) -> None:
    """Its answer does not lead to the next hang at once."""
    tree = write_tree(tmp_path / "sysfs", range(2), 2)
    with reading(tree, first_pause=3600.0) as rig:
        rig.wait_for_readings(lambda found: len(found) == 2)
        pipe = place(tree, 0, REPAIRABLE)
        hang(pipe)
        rig.wait_for_readings(lambda found: [*found] == [1])
        answer(pipe, "1")
        rig.wait_for(lambda: rig.threads() == 1)
        rig.wait_for_passes(tree, 1)
        assert [*rig.reader.readings().devices] == [1]


def test_many_hanging_devices_end_all_reading(tmp_path: Path, log: list[Any]) -> None:
    """No number of hanging devices takes more than a few threads, and one that answers brings the
    readings back."""
    tree = write_tree(tmp_path / "sysfs", range(MAX_HANGING + 1))
    with reading(tree) as rig:
        rig.wait_for_readings(lambda found: len(found) == MAX_HANGING + 1)
        pipes = [place(tree, device, REPAIRABLE) for device in range(MAX_HANGING + 1)]
        for pipe in pipes:
            hang(pipe)
        rig.wait_for(lambda: events(log, "sysfs_off"))
        assert rig.threads() == MAX_HANGING
        assert len(events(log, "sysfs_file_hangs")) == MAX_HANGING
        for pipe in pipes:
            answer(pipe, "1")
        rig.wait_for(lambda: rig.threads() == 1)
        for device in range(MAX_HANGING + 1):
            rig.wait_for_passes(tree, device)
        assert len(events(log, "sysfs_off")) == 1


def test_a_reload_during_a_hang(tmp_path: Path, log: list[Any]) -> None:
    """A thread that hangs below a former folder counts: a new folder is read with another one, but
    not with more than a few, however many reloads there are."""
    trees = [write_tree(tmp_path / f"{number}", [0]) for number in range(MAX_HANGING + 1)]
    writers = []
    with reading(False, file_timeout=3600.0) as rig:
        for tree in trees[:MAX_HANGING]:
            pipe = place(tree, 0, POWER)
            hang(pipe)
            rig.reader.configure(str(tree))
            writers.append(wait_for(lambda: writer_of_opened(pipe)))  # noqa: B023
        for count, tree in enumerate(trees[::-1], start=1):
            rig.reader.configure(str(tree))
            assert rig.threads() == MAX_HANGING
            assert len(events(log, "sysfs_off")) == count
        rig.reader.configure(str(trees[-1]))
        for writer in writers:
            os.close(writer)
        rig.wait_for_readings(lambda found: found[0].power)
    wait_for(lambda: not rig.threads())


def test_what_an_abandoned_thread_read_is_not_published(tree: Path) -> None:
    """Its value is old: a hanging file that answers late shows its next content only."""
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        pipe = place(tree, 0, REPAIRABLE)
        hang(pipe)
        rig.wait_for_readings(lambda found: 0 not in found)
        with pipe.open("w") as writer:
            set_value(pipe, "8")
            writer.write("7\n")
        seen = rig.wait_for_readings(
            lambda found: 0 in found and found[0].ecc_repairable is not None
        )
        assert seen[0].ecc_repairable == 8


def test_a_stop_waits_for_no_file(tree: Path) -> None:
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        hang(place(tree, 1, POWER))
        rig.wait_for_readings(lambda found: 1 not in found)
        rig.reader.stop()
        rig.reader.check()
        wait_for(lambda: rig.threads() == 1)  # the one that hangs
    answer(place(tree, 1, POWER), "1")
    wait_for(lambda: not rig.threads())
