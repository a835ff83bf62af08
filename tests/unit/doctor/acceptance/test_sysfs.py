"""The driver's files: both layouts, and files that are missing or cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.sysfs import SysfsTree, read_tree
from tests.support.evidence import evidence_of, judge, result
from tests.support.reports import report
from tests.support.sysfs_tree import POWER, write_tree

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN


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
