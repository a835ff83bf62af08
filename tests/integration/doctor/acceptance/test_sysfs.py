"""The driver's files: a machine with many of them, and files that hang."""

from __future__ import annotations

import os
from pathlib import Path

from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.sysfs import read_tree
from tests.support.evidence import evidence_of, judge
from tests.support.reports import report
from tests.support.sysfs_tree import POWER, write_tree


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
    assert found.result is Result.CONTRADICTED
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
