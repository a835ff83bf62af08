"""The driver's files, one of which hangs."""

from __future__ import annotations

import os
from pathlib import Path

from neuron_exporter.doctor.driver_files import check
from neuron_exporter.doctor.finding import Verdict
from tests.support.doctor import make_context, seen_with
from tests.support.sysfs_tree import write_tree


def test_file_that_hangs(tmp_path: Path) -> None:
    """It is named; the others are read."""
    write_tree(tmp_path, [0])
    path = tmp_path / "neuron0" / "stats" / "power" / "utilization"
    path.unlink()
    os.mkfifo(path)
    found = list(check(make_context(hardware__sysfs=str(tmp_path))))
    assert len(seen_with(found, Verdict.OK)) == 1
    assert seen_with(found, Verdict.WARNING) == [
        "neuron0/stats/power/utilization: no answer in time"
    ]
