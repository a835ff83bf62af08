"""The files of a device, in both layouts."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from neuron_exporter.facts.driver_files import CORE_FILES, DEVICE_FILES
from neuron_exporter.hardware.discovery import DeviceFiles, find_files, sort_paths
from tests.support.sysfs_tree import write_tree


def device(folder: Path, *, cores: int = 8, is_moved: bool = False) -> Path:
    """Write the files of a device."""
    return write_tree(folder, [0], cores, is_moved=is_moved) / "neuron0"


def test_known_paths(tmp_path: Path) -> None:
    found = find_files(str(device(tmp_path)))
    assert found.device == DEVICE_FILES
    assert [*found.cores] == [*range(8)]
    for core, paths in found.cores.items():
        assert paths == {name: f"neuron_core{core}/{path}" for name, path in CORE_FILES.items()}
    assert found.unclear == ()


def test_moved_files_are_found_by_name(tmp_path: Path) -> None:
    """Every name is found, wherever it is."""
    root = device(tmp_path, is_moved=True)
    found = find_files(str(root))
    assert found.device.keys() == DEVICE_FILES.keys()
    assert found.device["utilization"] != DEVICE_FILES["utilization"]
    assert {core: paths.keys() for core, paths in found.cores.items()} == dict.fromkeys(
        range(8), CORE_FILES.keys()
    )
    paths = [
        *found.device.values(),
        *(path for each in found.cores.values() for path in each.values()),
    ]
    assert all((root / path).is_file() for path in paths)
    assert len({*paths}) == len(paths)


def test_some_files_have_moved(tmp_path: Path) -> None:
    root = device(tmp_path)
    (root / "elsewhere").mkdir()
    (root / "stats/power").rename(root / "elsewhere/electric")
    found = find_files(str(root))
    assert found.device == {**DEVICE_FILES, "utilization": "elsewhere/electric/utilization"}


@pytest.mark.parametrize(
    "second", ["other/mem_ecc_repairable_uncorrected", "nc0/mem_ecc_repairable_uncorrected"]
)
def test_a_name_at_two_places_is_unclear(tmp_path: Path, second: str) -> None:
    root = device(tmp_path, is_moved=True)
    (root / second).parent.mkdir(exist_ok=True)
    (root / second).write_text("7\n")
    found = find_files(str(root))
    assert "mem_ecc_repairable_uncorrected" not in found.device
    assert second in found.unclear


def test_counters_of_cores_at_different_places_are_unclear(tmp_path: Path) -> None:
    root = device(tmp_path, cores=2, is_moved=True)
    name = next(path for path in root.rglob("hw_error") if "nc1" in path.parts)
    name.rename(name.parent.parent / "hw_error")
    found = find_files(str(root))
    assert not any("hw_error" in paths for paths in found.cores.values())
    assert all("hw_nc_ue_error" in paths for paths in found.cores.values())
    assert any(path.endswith("hw_error/total") for path in found.unclear)


def test_new_names_are_unclear(tmp_path: Path) -> None:
    root = device(tmp_path)
    for core in range(8):
        folder = root / f"neuron_core{core}/stats/status/hw_new_error"
        folder.mkdir()
        (folder / "total").write_text("0\n")
    assert find_files(str(root)).unclear == ("neuron_core*/stats/status/hw_new_error/total",)


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = device(tmp_path)
    (root / "subsystem").symlink_to("..")
    (root / "linked").symlink_to("stats/power/utilization")
    assert find_files(str(root)).unclear == ()


def test_a_missing_device_has_no_files(tmp_path: Path) -> None:
    assert find_files(str(tmp_path / "neuron0")) == DeviceFiles({}, {}, ())


def test_a_folder_may_be_left_out(tmp_path: Path) -> None:
    def before(path: str) -> None:
        if path.endswith("/stats/power"):
            raise OSError(errno.ETIMEDOUT, "hangs")

    found = find_files(str(device(tmp_path)), before)
    assert found.device.keys() == DEVICE_FILES.keys() - {"utilization"}


def test_sorted_paths() -> None:
    layout = sort_paths(
        ["uevent", "info/serial_number", "a/utilization", "a/total", "power/runtime_active_time"]
    )
    assert layout.known == ["info/serial_number"]
    assert layout.moved == ["a/utilization"]
    assert layout.unknown == ["a/total"]
