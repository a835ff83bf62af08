"""Driver versions and memory limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor import host
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.host import compare_limit, oom_kills
from tests.support.doctor import make_context

MIB = 2**20


@pytest.mark.parametrize(
    ("version", "type_", "verdict"),
    [
        ("2.24.7.0", "trn1.32xlarge", Verdict.OK),
        ("2.24.7.0", "inf1.xlarge", Verdict.FAILED),
        ("2.22", "inf1.24xlarge", Verdict.FAILED),
        ("2.21.37.0", "inf1.xlarge", Verdict.OK),
        ("2.17", "inf1.xlarge", Verdict.OK),
        ("odd", "inf1.xlarge", Verdict.OK),
        ("", "trn1.32xlarge", Verdict.FAILED),
    ],
)
def test_driver_versions(
    version: str, type_: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing driver, and one too new for Inferentia, are failures."""
    monkeypatch.setattr(host, "driver_version", lambda: version)
    finding = next(host.check_driver(make_context(identity__instance_type=type_)))
    assert finding.verdict is verdict


def test_unreadable_driver_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose version cannot be read is not a missing driver."""
    monkeypatch.setattr(host, "driver_version", lambda: "")
    monkeypatch.setattr(host, "DRIVER_VERSION", tmp_path / "version")
    finding = next(host.check_driver(make_context()))
    assert finding.verdict is Verdict.WARNING
    assert finding.seen.startswith(f"a driver is loaded; {tmp_path}/version cannot be read (user ")


def test_simulator_needs_no_driver() -> None:
    (finding,) = host.check_driver(make_context(source__kind="simulator"))
    assert finding.verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(None, Verdict.SKIPPED), (319 * MIB, Verdict.WARNING), (320 * MIB, Verdict.OK)],
)
def test_memory_limit(limit: int | None, verdict: Verdict) -> None:
    assert compare_limit(limit, 320 * MIB).verdict is verdict


def test_oom_kills(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    assert oom_kills(events) == 0
    events.write_text("low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(events) == 2
