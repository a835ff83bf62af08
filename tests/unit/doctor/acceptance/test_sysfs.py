"""The driver's files: both layouts, and files that hang, vanish or cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.sysfs import SysfsTree, read_tree
from tests.support.reports import report
from tests.support.sysfs_tree import POWER, write_tree
from tests.unit.doctor.acceptance.evidence import evidence_of, judge, result

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and time of change of each file."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_old_layout(tmp_path: Path) -> None:
    """All files are known, and nothing is written."""
    root = write_tree(tmp_path, range(3), cores=8, ecc={(2, "mem_ecc_uncorrected"): 7})
    before = contents(root)
    tree = read_tree(root)
    assert contents(root) == before
    assert (tree.devices, tree.files) == ({0, 1, 2}, len(before))
    assert {len(each) for each in tree.cores.values()} == {8}
    assert not tree.layout.moved
    assert not tree.layout.unknown
    assert tree.ecc[2, "mem_ecc_uncorrected"] == 7
    assert tree.values[0, "stats/power/utilization"] == POWER
    assert (0, "info/serial_number") not in tree.values
    assert not tree.unreadable


def test_moved_files_are_found_by_their_names(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [0], ecc={(0, "sram_ecc_uncorrected"): 3}, is_moved=True)
    tree = read_tree(root)
    assert "health/ecc/sram_ecc_uncorrected" in tree.layout.moved
    assert tree.ecc[0, "sram_ecc_uncorrected"] == 3
    assert tree.values[0, "power_usage/utilization"] == POWER


@pytest.mark.parametrize(
    ("driver", "is_moved", "expected"),
    [
        ("2.30.2.0", False, HELD),
        ("2.31.7.0", True, HELD),
        ("2.31.7.0", False, CONTRADICTED),
        ("2.24.7.0", True, CONTRADICTED),
        ("", False, NOT_SEEN),
    ],
)
def test_layout_by_driver(tmp_path: Path, driver: str, is_moved: bool, expected: Result) -> None:
    tree = read_tree(write_tree(tmp_path, [0], is_moved=is_moved))
    found = judge("sysfs-layout", evidence_of(report(), driver=driver, sysfs_before=tree))
    assert found.result is expected
    layout = "another layout" if is_moved else "the layout of drivers up to 2.30"
    assert layout in found.evidence


def test_unknown_files_are_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [0])
    (root / "neuron0" / "stats" / "thermal").mkdir()
    (root / "neuron0" / "stats" / "thermal" / "celsius").write_text("40\n")
    evidence = evidence_of(report(), driver="2.30.2.0", sysfs_before=read_tree(root))
    assert "not understood: stats/thermal/celsius" in judge("sysfs-layout", evidence).evidence


def test_values_have_their_forms(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [0])
    good = evidence_of(report(), sysfs_before=read_tree(root))
    assert result("sysfs-values", good) is HELD
    (root / "neuron0" / "stats" / "power" / "utilization").write_text("20 W\n")
    bad = judge("sysfs-values", evidence_of(report(), sysfs_before=read_tree(root)))
    assert bad.result is CONTRADICTED
    assert bad.evidence.endswith("not understood: stats/power/utilization of device 0")


def test_missing_value_is_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [0])
    (root / "neuron0" / "stats" / "power" / "utilization").unlink()
    found = judge("sysfs-values", evidence_of(report(), sysfs_before=read_tree(root)))
    assert found.evidence.endswith("no file is named utilization")


def test_hanging_files_cost_only_themselves(tmp_path: Path) -> None:
    """A FIFO without a writer blocks the open, as a device in reset may block a read."""
    root = write_tree(tmp_path, range(2), ecc={(1, "sram_ecc_uncorrected"): 5})
    hanging = root / "neuron0" / "stats" / "hardware" / "mem_ecc_uncorrected"
    hanging.unlink()
    os.mkfifo(hanging)
    tree = read_tree(root, timeout=2.0)
    assert tree.unreadable == {"neuron0/stats/hardware/mem_ecc_uncorrected": "no answer in time"}
    assert tree.ecc[1, "sram_ecc_uncorrected"] == 5
    assert tree.ecc[0, "sram_ecc_uncorrected"] == 0
    found = judge("sysfs-values", evidence_of(report(), sysfs_before=tree))
    assert found.result is CONTRADICTED
    assert "mem_ecc_uncorrected: no answer in time" in found.evidence


def test_only_some_hanging_files_are_waited_for(tmp_path: Path) -> None:
    root = write_tree(tmp_path, range(8))
    for device in range(8):
        hanging = root / f"neuron{device}" / "core_count"
        hanging.unlink()
        os.mkfifo(hanging)
    tree = read_tree(root, timeout=2.0)
    assert 0 < len(tree.unreadable) <= 3
    assert tree.devices == {*range(8)}


def test_unreadable_file(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [0])
    file = root / "neuron0" / "core_count"
    file.unlink()
    file.symlink_to("/nonexistent")
    (root / "neuron0" / "loop").symlink_to(root)
    tree = read_tree(root)
    assert (0, "core_count") not in tree.values
    assert tree.devices == {0}


def test_no_driver(tmp_path: Path) -> None:
    assert read_tree(tmp_path / "missing") == SysfsTree()
    evidence = evidence_of(report())
    for name in ("sysfs-layout", "sysfs-values", "sysfs-cores", "sysfs-devices", "sysfs-ecc"):
        assert judge(name, evidence).result is NOT_SEEN
        assert judge(name, evidence).evidence.startswith("there is no /sys/")
