"""The driver's versions, memory limits, and owners: what is said of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.doctor import driver, owners
from exporter.doctor.exposed import Exposed
from exporter.doctor.finding import Verdict
from exporter.doctor.limits import judge, oom_kills
from exporter.doctor.source import listen
from tests.support.doctoring import case, of
from tests.support.exporter import SIMULATOR

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


def test_owners_come_from_reports() -> None:
    """What reports tell of pods is said, by a report that was heard or by an exporter's series."""
    told = case(source__command=[*SIMULATOR, "--kubernetes"], source__period="1s")
    told.sample = listen(told)
    (finding,) = owners.examine(told)
    assert finding.verdict is Verdict.OK
    assert "neuron_k8s_info names the pods of" in finding.seen

    told = case()
    told.exposed = Exposed(
        'neuron_exporter_build_info{version="1"} 1\nneuroncore_utilization_ratio{pod="a"} 1\n'
    )
    assert next(owners.examine(told)).verdict is Verdict.OK


def test_a_set_by_pod_without_pods_is_warned_of() -> None:
    """Who pays for metrics by pod learns that there will be none."""
    assert of(owners.examine(case()), Verdict.SKIPPED)
    by_pod = case(cloudwatch__enabled=True, cloudwatch__dimension_sets=[["ClusterName", "PodName"]])
    assert of(owners.examine(by_pod), Verdict.WARNING)
