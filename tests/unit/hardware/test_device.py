"""When the files of a device are searched and read."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from neuron_exporter.facts.driver_files import DEVICE_FILES
from neuron_exporter.hardware.device import CORES_INTERVAL, SEARCH_INTERVAL, Device
from neuron_exporter.hardware.problems import MAX_PATHS, Problems
from neuron_exporter.readings import DeviceReadings
from tests.support.sysfs_tree import write_tree

POWER = DEVICE_FILES["utilization"]


class NotedFiles:
    """Access to files that never hang, with the paths that were accessed."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.was_read: list[str] = []

    def begin(self, path: str) -> None:
        """Note an access to a folder."""
        self.begun.append(path)

    def read(self, path: str) -> str:
        """Return the content of a file."""
        self.was_read.append(path)
        return Path(path).read_text().strip()


class Rig:
    """A device with two cores, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_tree(folder, [0], 2) / "neuron0"
        self.files, self.problems = NotedFiles(), Problems()
        self._device = Device(str(self.folder), self.files, self.problems)
        self._now = 1000.0

    def read(self, seconds: float, identity: int = 1) -> DeviceReadings:
        """Read the device some seconds later."""
        self._now += seconds
        self.files.begun.clear()
        self.files.was_read.clear()
        return self._device.read(identity, self._now)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a device that was searched twice, as each is."""
    made = Rig(tmp_path)
    made.read(0)
    made.read(SEARCH_INTERVAL)
    assert made.files.begun
    return made


def test_files_are_searched_rarely(rig: Rig) -> None:
    """Only a change of the folder or a missing file leads to a search, once a minute at most."""
    for seconds, identity in ((1, 1), (600, 1), (5, 2)):
        rig.read(seconds, identity)
        assert bool(rig.files.begun) == (identity == 2)
    rig.read(SEARCH_INTERVAL - 1, 3)
    assert not rig.files.begun
    rig.read(1, 3)
    assert rig.files.begun


def test_files_that_appear_and_move_are_found(rig: Rig) -> None:
    (rig.folder / POWER).unlink()
    assert not rig.read(5).power
    elsewhere = rig.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "utilization").write_text("POWER_STATUS_VALID,1,1.00,1.00,1.00\n")
    assert not rig.read(5).power
    assert rig.read(SEARCH_INTERVAL).power["avg"] == 0.01


def test_files_of_a_driver_that_is_being_loaded(tmp_path: Path) -> None:
    """Files that are added after the first search are found by the second."""
    rig = Rig(tmp_path)
    content = (rig.folder / POWER).read_text()
    (rig.folder / POWER).unlink()
    assert not rig.read(0).power
    (rig.folder / POWER).write_text(content)
    assert not rig.read(SEARCH_INTERVAL - 1).power
    assert rig.read(1).power


def test_files_of_cores_are_read_less_often(rig: Rig) -> None:
    """A failed reset counts at all cores, so that one of their files is enough."""
    rig.read(CORES_INTERVAL)
    cores = [path for path in rig.files.was_read if "neuron_core" in path]
    assert len(cores) == 2 * (6 + 1) + 1
    for seconds in (5, CORES_INTERVAL - 6):
        rig.read(seconds)
        assert not any("neuron_core" in path for path in rig.files.was_read)
    rig.read(1)
    assert len([path for path in rig.files.was_read if "neuron_core" in path]) == len(cores)


def test_the_serial_number_is_read_once(rig: Rig) -> None:
    assert rig.read(5).serial_number == "9ff5434815c8bd80"
    assert not any(path.endswith("/info/serial_number") for path in rig.files.was_read)


def test_a_serial_number_that_is_read_later(tmp_path: Path) -> None:
    """The driver shows none while the firmware does not answer."""
    rig = Rig(tmp_path)
    file = rig.folder / DEVICE_FILES["serial_number"]
    file.write_text("\n")
    assert rig.read(0).serial_number == ""
    file.write_text("0123456789abcdef\n")
    assert rig.read(5).serial_number == "0123456789abcdef"


def test_unclear_paths_are_logged_once(rig: Rig) -> None:
    counted: list[str] = []
    rig.problems.on_error = counted.append
    for number in range(MAX_PATHS + 5):
        (rig.folder / f"new_{number:02}").touch()
    with structlog.testing.capture_logs() as log:
        for identity in (2, 3):
            rig.read(SEARCH_INTERVAL, identity)
    (event,) = log
    assert event["event"] == "sysfs_paths_unclear"
    assert event["paths"] == [f"new_{number:02}" for number in range(MAX_PATHS)]
    assert (event["count"], counted) == (MAX_PATHS + 5, ["unclear"] * (MAX_PATHS + 5))
