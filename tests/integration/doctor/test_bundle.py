"""The support bundle of a machine with the driver's files."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from neuron_exporter.doctor.bundle import Bundle
from neuron_exporter.doctor.finding import Subject
from neuron_exporter.text import MASK
from tests.support.doctor import make_context
from tests.support.sysfs_tree import POWER, write_tree

FINDINGS = [Subject("driver").ok("version 2.24.7.0 is loaded")]


def changes(root: Path) -> dict[Path, int]:
    """Return when each file and folder was last changed, in nanoseconds."""
    return {path: path.stat().st_ctime_ns for path in root.rglob("*")}


def test_driver_files(tmp_path: Path) -> None:
    """Values are in the bundle by path; serial numbers and unknown texts are masked."""
    root = write_tree(tmp_path / "sys", range(2), cores=8, ecc={(1, "mem_ecc_uncorrected"): 3})
    (root / "neuron0" / "stats" / "hardware" / "mem_ecc_uncorrected").write_text("geheim\n")
    folder = root / "neuron1" / "stats" / "hardware" / "health_status"
    (folder / "unhealthy_components").write_text("hbm,link_efa\n")
    before = changes(root)
    path = tmp_path / "bundle.tar.gz"
    list(Bundle(str(path)).write(make_context(hardware__sysfs=str(root)), FINDINGS))
    assert changes(root) == before
    with tarfile.open(path) as archive:
        (entry,) = (each for each in archive if each.name.endswith("/driver_files.json"))
        content = archive.extractfile(entry)
        assert content is not None
        text = content.read().decode()
    document = json.loads(text)
    values = document["values"]
    assert {values[f"neuron{n}/info/serial_number"] for n in range(2)} == {"serial_number-1"}
    assert values["neuron0/stats/power/utilization"] == POWER
    assert values["neuron0/stats/hardware/mem_ecc_uncorrected"] == MASK
    assert values["neuron1/stats/hardware/mem_ecc_uncorrected"] == "3"
    assert values["neuron1/stats/hardware/health_status/unhealthy_components"] == "hbm,link_efa"
    assert values["neuron1/neuron_core7/stats/status/hw_hbm_ue_error/total"] == "0"
    assert "neuron_core*/stats/status/hw_hbm_ue_error/total" in document["paths"]
    assert document["unreadable"] == {}
    assert "geheim" not in text
