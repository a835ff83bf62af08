"""Faults of devices by the driver's files, one of which hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.doctor import device_faults
from neuron_exporter.doctor.device_faults import check
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.facts.driver_files import DEVICE_FILES, UNHEALTHY
from tests.support.doctor import make_context, seen_with
from tests.support.sysfs_tree import write_health


def test_file_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is unknown; what was read before counts."""
    monkeypatch.setattr(device_faults, "present_devices", lambda: frozenset({0, 1}))
    write_health(tmp_path, 0, "hbm\n")
    hanging = write_health(tmp_path, 1, "\n")
    hanging.unlink()
    os.mkfifo(hanging)
    context = make_context(hardware__sysfs=str(tmp_path))
    findings = list(check(context))
    assert seen_with(findings, Verdict.FAILED) == ["neuron0 is unhealthy: hbm"]
    assert seen_with(findings, Verdict.WARNING) == [
        f"neuron1/{DEVICE_FILES[UNHEALTHY]}: no answer in time"
    ]
    assert context.incomplete == {"devices"}
