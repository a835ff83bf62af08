"""Faults of devices: what a running exporter knows, else what the driver's files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.doctor import device_faults
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.device_faults import HARDWARE_PROBLEMS, check
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.facts.problems import BY_REASON
from tests.support.doctor import make_context, seen_with
from tests.support.sysfs_tree import write_health


def context_of(root: Path, snapshot: Mapping[str, Any] | None = None) -> Context:
    """Return a context with this folder of the driver, beside an exporter with this snapshot."""
    context = make_context(hardware__sysfs=str(root))
    if snapshot is not None:
        context.is_running = True
        context.snapshot = json.dumps(snapshot).encode()
    return context


@pytest.fixture
def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a driver whose devices 0 and 1, which are in /dev, have no health."""
    monkeypatch.setattr(device_faults, "present_devices", lambda: frozenset({0, 1}))
    return tmp_path


def test_problems_exist() -> None:
    assert {*HARDWARE_PROBLEMS} <= {*BY_REASON}


def test_problems_of_the_exporter(health: Path) -> None:
    """Those of the hardware are failures; others are none of the devices' faults."""
    problems = [
        {"reason": "uncorrected_ecc", "detail": "device 3", "severity": "warning"},
        {"reason": "sink_failing", "detail": "cloudwatch", "severity": "warning"},
    ]
    findings = list(check(context_of(health, {"source": {"is_fresh": True}, "problems": problems})))
    assert seen_with(findings, Verdict.FAILED) == ["uncorrected ecc: device 3"]
    assert len(findings) == 1


def test_exporter_without_problems(health: Path) -> None:
    """It is asked instead of the driver, whose counters do not show what is new."""
    write_health(health, 0, "hbm\n")
    (finding,) = check(context_of(health, {"source": {"is_fresh": True}, "problems": []}))
    assert finding.verdict is Verdict.OK


@pytest.mark.parametrize("snapshot", [{}, {"source": {"is_fresh": False}}])
def test_exporter_without_reports(health: Path, snapshot: Mapping[str, Any]) -> None:
    write_health(health, 0, "\n")
    findings = list(check(context_of(health, snapshot)))
    assert [each.verdict for each in findings] == [Verdict.SKIPPED, Verdict.OK]


def test_health_by_the_driver(health: Path) -> None:
    """A container with some of the devices sees the files of all."""
    write_health(health, 0, "\n")
    write_health(health, 1, "hbm,sram\n")
    write_health(health, 7, "hbm\n")
    findings = list(check(context_of(health)))
    assert seen_with(findings, Verdict.FAILED) == ["neuron1 is unhealthy: hbm, sram"]
    assert seen_with(findings, Verdict.OK) == ["the driver calls devices 0 healthy"]


def test_health_that_is_not_understood(health: Path) -> None:
    write_health(health, 0, "flux_capacitor\n")
    (finding,) = check(context_of(health))
    assert finding.verdict is Verdict.SKIPPED
    assert "'flux_capacitor'" in finding.seen


def test_files_that_must_not_be_read(health: Path) -> None:
    write_health(health, 0, "hbm\n")
    (finding,) = check(make_context(hardware__sysfs=False))
    assert finding.verdict is Verdict.SKIPPED


def test_no_driver(health: Path) -> None:
    assert list(check(context_of(health))) == []
