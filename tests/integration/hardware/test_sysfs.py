"""The reader of the driver's files, on trees that change, hang, vanish or hold garbage."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog

from neuron_exporter.facts.driver_files import DEVICE_FILES
from neuron_exporter.hardware.sysfs import MAX_HANGING, SysfsReader
from neuron_exporter.readings import DeviceReadings
from tests.support.mounts import remount, tmpfs
from tests.support.processes import threads
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

T = TypeVar("T")

POWER, REPAIRABLE = DEVICE_FILES["utilization"], DEVICE_FILES["mem_ecc_repairable_uncorrected"]
FAILED = "neuron_core0/stats/other_info/reset_fail_count/total"


class Rig:
    """A reader that makes a pass every 10 ms, with its log and errors."""

    def __init__(self, setting: bool | str, file_timeout: float = 2.0) -> None:
        self.reader = SysfsReader(
            setting, min_interval=0.01, cores_interval=0.0, file_timeout=file_timeout
        )
        self.errors: list[str] = []
        self.reader.problems.on_error = self.errors.append
        self.reader.start()

    def wait_for(self, condition: Callable[[], T]) -> T:
        """Wait for a true value, with the ticks of the main thread."""

        def ticking() -> T:
            self.reader.check()
            return condition()

        return wait_for(ticking)

    def wait_for_readings(
        self, condition: Callable[[Mapping[int, DeviceReadings]], Any]
    ) -> Mapping[int, DeviceReadings]:
        """Return the first readings of devices for which the condition holds."""
        return self.wait_for(
            lambda: (found := self.reader.readings().devices) and condition(found) and found
        )

    def close(self) -> None:
        """Stop the reader."""
        self.reader.stop()


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """Return the events that are logged."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(params=["old", "moved"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a tree of two devices with eight cores, in each layout."""
    return write_tree(tmp_path / "sysfs", range(2), 8, is_moved=request.param == "moved")


@contextmanager
def reading(setting: bool | str | Path, **more: Any) -> Iterator[Rig]:
    """Read the files of this setting."""
    rig = Rig(str(setting) if isinstance(setting, Path) else setting, **more)
    with closing(rig):
        yield rig


def place(tree: Path, device: int, path: str) -> Path:
    """Return the file of a device that is at this path up to driver 2.30."""
    known = tree / f"neuron{device}" / path
    if known.exists():
        return known
    name = path.removesuffix("/total").rpartition("/")[2]
    below = f"{name}/total" if path.endswith("/total") else name
    core = path.split("/")[0].removeprefix("neuron_core") if "neuron_core" in path else ""
    return next(
        found
        for found in sorted((tree / f"neuron{device}").rglob(below))
        if not core or f"nc{core}" in found.parts
    )


def set_value(file: Path, text: str) -> None:
    """Replace the content of a file at once, as the driver does."""
    new = file.with_name("new")
    new.write_text(f"{text}\n")
    new.replace(file)


def hang(file: Path) -> None:
    """Put a pipe in the place of a file: an access waits for a writer."""
    file.unlink()
    os.mkfifo(file)


def answer(pipe: Path, text: str) -> None:
    """Let an access to a pipe end, and put a file in its place for the next one."""
    with pipe.open("w") as writer:
        set_value(pipe, text)
        writer.write(f"{text}\n")


def events(log: list[Any], name: str) -> list[Any]:
    """Return the events of this name."""
    return [each for each in log if each["event"] == name]


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
        assert rig.reader.seconds() > 0

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


def test_a_hanging_file_costs_only_itself(tree: Path, log: list[Any]) -> None:
    """Another thread goes on without the file, which is read again once it answers."""
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        before = len(threads("hardware"))
        pipe = place(tree, 0, POWER)
        hang(pipe)
        found = rig.wait_for_readings(lambda found: not found[0].power)
        assert found[0].ecc_repairable == 0
        assert found[1].power
        set_value(place(tree, 0, REPAIRABLE), "2")
        rig.wait_for_readings(lambda found: found[0].ecc_repairable == 2)
        assert [each["file"] for each in events(log, "sysfs_file_hangs")] == [str(pipe)]
        assert len(threads("hardware")) == before + 1
        answer(pipe, "POWER_STATUS_VALID,1,0.00,0.00,77.00")
        found = rig.wait_for_readings(lambda found: found[0].power)
        assert found[0].power["avg"] == 0.77
        wait_for(lambda: len(threads("hardware")) == before)
        assert rig.errors.count("hanging") == len(events(log, "sysfs_file_hangs")) == 1


def test_many_hanging_files_end_all_reading(tree: Path, log: list[Any]) -> None:
    """No number of hanging files takes more than a few threads, and one that answers brings the
    readings back."""
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        before = len(threads("hardware"))
        pipes = [place(tree, device, path) for device in range(2) for path in (POWER, REPAIRABLE)]
        for pipe in pipes:
            hang(pipe)
        rig.wait_for(lambda: events(log, "sysfs_off"))
        assert len(threads("hardware")) == before - 1 + MAX_HANGING
        assert len(events(log, "sysfs_file_hangs")) == MAX_HANGING
        for pipe in pipes:  # the last one was never opened
            set_value(pipe, "1") if pipe is pipes[-1] else answer(pipe, "1")
        rig.wait_for_readings(lambda found: found[1].ecc_repairable == 1)
        wait_for(lambda: len(threads("hardware")) == before)
        assert len(events(log, "sysfs_off")) == 1


def test_what_an_abandoned_thread_read_is_not_published(tree: Path) -> None:
    """Its value is old: a hanging file that answers late shows its next content only."""
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        pipe = place(tree, 0, REPAIRABLE)
        hang(pipe)
        rig.wait_for_readings(lambda found: found[0].ecc_repairable is None)
        with pipe.open("w") as writer:
            set_value(pipe, "8")
            writer.write("7\n")
        seen = rig.wait_for_readings(lambda found: found[0].ecc_repairable is not None)
        assert seen[0].ecc_repairable == 8


def test_a_device_that_vanishes(tree: Path, log: list[Any]) -> None:
    """A device in a reset of the driver ends its own readings, and has new ones afterwards."""
    with reading(tree) as rig:
        rig.wait_for_readings(lambda found: len(found) == 2)
        shutil.rmtree(tree / "neuron1")
        rig.wait_for_readings(lambda found: [*found] == [0])
        rig.wait_for(lambda: events(log, "sysfs_files_vanished"))
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
        rig.wait_for(lambda: rig.reader.seconds() > 0)
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
        assert not threads("hardware")
        assert math.isnan(rig.reader.up())
        rig.reader.configure(str(tree))
        rig.wait_for_readings(lambda found: [*found] == [0, 1])
        rig.reader.configure(str(other))
        assert not rig.reader.readings().devices or [*rig.reader.readings().devices] == [5]
        rig.wait_for_readings(lambda found: [*found] == [5])
        rig.reader.configure(False)
        assert not rig.reader.readings().devices
        wait_for(lambda: not threads("hardware"))


def test_a_stop_waits_for_no_file(tree: Path) -> None:
    with reading(tree) as rig:
        rig.wait_for_readings(len)
        hang(place(tree, 1, POWER))
        rig.wait_for_readings(lambda found: not found[1].power)
        rig.reader.stop()
        rig.reader.check()
        wait_for(lambda: len(threads("hardware")) == 1)  # the one that hangs
    answer(place(tree, 1, POWER), "1")
    wait_for(lambda: not threads("hardware"))
