"""The driver's versions and memory limits: what is said of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor import driver
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.limits import judge, oom_kills
from tests.support.doctoring import case

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
def test_a_driver_and_its_machine(
    version: str, type_: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No driver, and one that has left Inferentia behind, are said; everything else is well."""
    monkeypatch.setattr(driver, "driver_version", lambda: version)
    finding = next(driver.examine(case(identity__instance_type=type_)))
    assert finding.verdict is verdict


def test_what_is_not_of_this_machine_needs_no_driver() -> None:
    """Whoever simulates is not told to install a driver."""
    (finding,) = driver.examine(case(source__kind="simulator"))
    assert finding.verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(None, Verdict.SKIPPED), (319 * MIB, Verdict.WARNING), (320 * MIB, Verdict.OK)],
)
def test_a_memory_limit_is_judged_by_the_need(limit: int | None, verdict: Verdict) -> None:
    """A limit below what both need is told before something is killed."""
    assert judge(limit, 320 * MIB).verdict is verdict


def test_processes_that_were_killed_are_counted(tmp_path: Path) -> None:
    """The kernel's count is taken as it stands; where there is none, nothing is said."""
    events = tmp_path / "memory.events"
    assert oom_kills(events) == 0
    events.write_text("low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(events) == 2
