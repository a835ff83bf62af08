"""The reader of the driver's files, on trees that change, vanish or hold garbage."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.facts.driver_files import DEVICE_FILES
from tests.support.mounts import remount, tmpfs
from tests.support.sysfs_reader import POWER, REPAIRABLE, events, place, reading, set_value
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for


def test_every_change_arrives(tree: Path) -> None:
    """Each kind of value follows its file, in both layouts."""
    with reading(tree) as rig:
        first = rig.wait_for_readings(lambda found: len(found) == 2)[1]
        assert first.power == {"min": 0.105, "max": 0.31, "avg": 0.2025}
        assert first.serial_number == "9ff5434815c8bd80"
        assert first.health["hbm"] == first.health["device"] == 1
        assert first.ecc_repairable == 0
        assert first.resets == {"requested": 0, "failed": 0}
        assert [*first.core_errors] == [*range(8)]
        assert rig.reader.up() == 1
        assert rig.reader.pass_cpu_seconds() > 0

        set_value(place(tree, 1, POWER), "POWER_STATUS_VALID,1759968060,0.00,100.00,50.00")
        rig.wait_for_readings(lambda found: found[1].power == {"min": 0, "max": 1, "avg": 0.5})
        set_value(place(tree, 1, POWER), "POWER_STATUS_NO_DATA,1759968120,0.00,0.00,0.00")
        rig.wait_for_readings(lambda found: not found[1].power)
        set_value(place(tree, 1, DEVICE_FILES["unhealthy_components"]), "hbm,link_efa")
        rig.wait_for_readings(
            lambda found: (found[1].health.get("hbm"), found[1].health.get("sram")) == (0, 1)
        )
        set_value(place(tree, 1, REPAIRABLE), "3")
        rig.wait_for_readings(lambda found: found[1].ecc_repairable == 3)
        for core in range(8):  # a reset of the device counts at all of its cores
            below = f"neuron_core{core}/stats/other_info"
            set_value(place(tree, 1, f"{below}/reset_req_count/total"), "4")
            set_value(place(tree, 1, f"{below}/reset_fail_count/total"), "2")
        rig.wait_for_readings(lambda found: found[1].resets == {"requested": 4, "failed": 2})
        set_value(place(tree, 1, "neuron_core5/stats/status/hw_dma_abort_error/total"), "9")
        rig.wait_for_readings(lambda found: found[1].core_errors[5]["hw_dma_abort_error"] == 9)
        last = rig.reader.readings().devices
        assert last[1].core_errors[4]["hw_dma_abort_error"] == 0
        assert last[0].resets == {"requested": 0, "failed": 0}
        assert not rig.errors


def test_nothing_is_written(tmp_path: Path) -> None:
    """The reader works on a file system that forbids writes."""
    with tmpfs(tmp_path, "32m"):
        tree = write_tree(tmp_path / "sysfs", range(2), 8)
        remount(tmp_path, "ro")
        with reading(tree) as rig:
            rig.wait_for_readings(lambda found: len(found) == 2 and found[1].core_errors[7])
            assert not rig.errors


def test_garbage_costs_only_its_value(tree: Path, log: list[Any]) -> None:
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        damaged = place(tree, 0, "neuron_core3/stats/status/hw_error/total")
        damaged.write_bytes(b"\xff\x00garbage")
        found = rig.wait_for_readings(lambda found: "hw_error" not in found[0].core_errors[3])
        assert found[0].core_errors[3]["hw_nc_ue_error"] == 0
        assert found[0].power
        place(tree, 0, POWER).write_text("")
        found = rig.wait_for_readings(lambda found: not found[0].power)
        assert found[1].power
        rig.wait_for(lambda: rig.errors.count("invalid") > 4)
        assert [each["file"] for each in events(log, "sysfs_value_invalid")] == [
            str(damaged),
            str(place(tree, 0, POWER)),
        ]
        set_value(place(tree, 0, POWER), "POWER_STATUS_VALID,1,0.00,0.00,1.00")
        rig.wait_for_readings(lambda found: found[0].power)


def test_a_device_that_vanishes(tree: Path, log: list[Any]) -> None:
    """A device in a reset of the driver ends its own readings, and has new ones afterwards."""
    with reading(tree) as rig:
        rig.wait_for_readings(lambda found: len(found) == 2)
        shutil.rmtree(tree / "neuron1")
        rig.wait_for_readings(lambda found: [*found] == [0])
        rig.wait_for_passes(tree, 0)  # the first may only just have missed the device
        count = rig.errors.count("vanished")
        rig.wait_for_passes(tree, 0)
        assert rig.errors.count("vanished") == count
        write_tree(tree.with_name("new"), [1], 8)
        (tree.with_name("new") / "neuron1").rename(tree / "neuron1")
        rig.wait_for_readings(lambda found: len(found) == 2)
        assert len(events(log, "sysfs_files_vanished")) == 1


def test_a_file_that_vanishes(tree: Path, log: list[Any]) -> None:
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        place(tree, 0, POWER).unlink()
        found = rig.wait_for_readings(lambda found: not found[0].power)
        assert found[0].health
        assert [each["folder"] for each in events(log, "sysfs_files_vanished")] == [
            str(tree / "neuron0")
        ]


def test_a_reset_count_that_is_not_complete_is_none(tmp_path: Path) -> None:
    """The highest of some cores could be below the last one, which would look like a reset."""
    tree = write_tree(tmp_path / "sysfs", [0], 2)
    set_value(tree / "neuron0/neuron_core1/stats/other_info/reset_req_count/total", "5")
    with reading(tree) as rig:
        rig.wait_for_readings(lambda found: found[0].resets["requested"] == 5)
        set_value(tree / "neuron0/neuron_core1/stats/other_info/reset_req_count/total", "?")
        rig.wait_for_readings(lambda found: found[0].resets == {"failed": 0})


@pytest.mark.parametrize(("setting", "count"), [("auto", 0), (True, 1)])
def test_a_missing_folder(
    setting: bool | str, count: int, log: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is reported once if the configuration requires it, and looked for again."""
    root = tmp_path / "neuron_device"
    monkeypatch.setattr("neuron_exporter.hardware.sysfs.ROOT", str(root))
    monkeypatch.setattr("neuron_exporter.hardware.sysfs.LOOK_INTERVAL", 0.01)
    with reading(setting) as rig:
        rig.wait_for(lambda: rig.reader.pass_cpu_seconds() > 0)
        assert not rig.reader.readings().devices
        up = rig.reader.up()
        assert math.isnan(up) if setting == "auto" else up == 0
        write_tree(root, range(2))
        rig.wait_for_readings(lambda found: len(found) == 2)
        assert rig.reader.up() == 1
        assert len(events(log, "sysfs_missing")) == count
    assert len(log) == count


def test_a_setting_that_changes(tree: Path, tmp_path: Path) -> None:
    """A reload starts, moves and ends the reading."""
    other = write_tree(tmp_path / "other", [5], 2)
    with reading(False) as rig:
        assert not rig.threads()
        assert math.isnan(rig.reader.up())
        rig.reader.configure(str(tree))
        rig.wait_for_readings(lambda found: [*found] == [0, 1])
        rig.reader.configure(str(other))
        assert not rig.reader.readings().devices or [*rig.reader.readings().devices] == [5]
        rig.wait_for_readings(lambda found: [*found] == [5])
        rig.reader.configure(False)
        assert not rig.reader.readings().devices
        wait_for(lambda: not rig.threads())
