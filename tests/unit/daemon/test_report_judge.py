"""The thresholds by which reports are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from neuron_exporter.daemon.report_judge import KEPT_SECONDS, MAX_LISTED, ActiveProblem, ReportJudge
from neuron_exporter.facts.problems import CORRECTED_ECC_PER_HOUR, MIN_FAILURES
from neuron_exporter.model import Machine, Owner, Owners
from neuron_exporter.readings import DeviceReadings, HardwareReadings
from tests.support.reports import (
    HARDWARE,
    Harness,
    cores,
    ecc,
    executions,
    group,
    memory,
    report,
    runtime,
)


class Judged:
    """Judge of minimal reports, one every 5 s."""

    def __init__(self) -> None:
        self.harness = Harness()
        self.judge = ReportJudge()

    def problems(self, document: dict[str, Any], **more: Any) -> dict[str, ActiveProblem]:
        """Return the problems after a report, by reason."""
        self.judge.judge(self.harness.collect(document, **more).snapshot)
        return {each.reason: each for each in self.judge.problems}


def with_ecc(*devices: dict[str, float]) -> dict[str, Any]:
    return report(system_data={"neuron_hw_counters": ecc(*devices)})


def with_executions(completed: int, failed: int) -> dict[str, Any]:
    return report(runtime(7, "a", execution_stats=executions(completed, timed_out=failed)))


@pytest.mark.parametrize(
    ("completed", "failed", "is_failing"),
    [(0, MIN_FAILURES - 1, False), (0, MIN_FAILURES, True), (10_000, MIN_FAILURES, False)],
)
def test_share_and_number_of_failures(completed: int, failed: int, is_failing: bool) -> None:
    judged = Judged()
    assert judged.problems(with_executions(100, 0)) == {}
    found = judged.problems(with_executions(completed, failed))
    assert bool(found) is is_failing
    if is_failing:
        assert found["failing"].detail == "100.0% in the last minutes, most of them timed out"


def test_failures_are_forgotten() -> None:
    judged = Judged()
    judged.problems(with_executions(100, 0))
    assert judged.problems(with_executions(0, 50))
    found = [bool(judged.problems(with_executions(1, 0))) for _ in range(63)]
    assert (found[0], found[-1]) == (True, False)
    assert found == sorted(found, reverse=True)


def test_corrected_errors_per_hour_and_device() -> None:
    judged = Judged()
    judged.problems(with_ecc({}, {}))
    half = CORRECTED_ECC_PER_HOUR / 2
    both = {"mem_ecc_corrected": half, "sram_ecc_corrected": half}
    assert judged.problems(with_ecc(both, both)) == {}
    more = {**both, "mem_ecc_corrected": half + 1}
    found = judged.problems(with_ecc(both, more))
    assert found["corrected_ecc"].detail == "device 1"
    judged.harness.now += 3600
    assert judged.problems(with_ecc(both, more)) == {}


def test_uncorrected_error_is_a_warning_after_an_hour() -> None:
    judged = Judged()
    judged.problems(with_ecc({"mem_ecc_uncorrected": 3}))  # the first reading is no event
    assert judged.judge.problems == ()
    bad = with_ecc({"mem_ecc_uncorrected": 4})
    first = judged.problems(bad)["uncorrected_ecc"]
    assert first.severity is None
    judged.harness.now += 3600
    later = judged.problems(bad)["uncorrected_ecc"]
    assert (later.severity, later.since) == ("warning", first.since)
    again = judged.problems(with_ecc({"sram_ecc_uncorrected": 1, "mem_ecc_uncorrected": 4}))
    assert again["uncorrected_ecc"].severity is None


def test_listed_names_are_bounded() -> None:
    judged = Judged()
    devices = [{"mem_ecc_uncorrected": 1.0}] * (MAX_LISTED + 12)
    judged.problems(with_ecc(*({} for _ in devices)))
    found = judged.problems(with_ecc(*devices))
    assert found["uncorrected_ecc"].detail == "devices 0, 1, 2, 3 and 12 more"


@pytest.mark.parametrize(
    ("owner", "is_missing"), [(Owner(pod="a"), True), (Owner(task_family="a"), False)]
)
def test_task_that_sees_its_own_devices_only(owner: Owner, is_missing: bool) -> None:
    """Two of sixteen devices are all that an exporter in an ECS task sees."""
    document = report(runtime(7, "a", neuroncore_counters=cores(_0=50.0)))
    owners = Owners(by_core={0: owner})
    machine = Machine(instance_type="trn1.32xlarge")
    found = Judged().problems(document, machine=machine, owners=owners)
    assert ("device_missing" in found) is is_missing


def test_problem_stays_while_its_reading_is_missing() -> None:
    """It neither flickers with a group that fails now and then, nor outlives its readings."""
    judged = Judged()

    def with_memory(used: dict[str, Any]) -> dict[str, Any]:
        hardware = {**HARDWARE, "neuron_device_memory_size": 100}
        system = {"neuron_hw_counters": ecc({}, {})}
        workload = runtime(7, "a", memory_used=used)
        return report(workload, system_data=system, neuron_hardware_info=hardware)

    full, empty = (with_memory(memory({"0": {"tensors": used}})) for used in (96, 1))
    unread = with_memory(group("failed"))
    first = judged.problems(full)["memory_full"]
    assert judged.problems(unread)["memory_full"] == first
    assert judged.problems(full)["memory_full"] == first
    assert judged.problems(empty) == {}
    judged.problems(full)
    found = [bool(judged.problems(unread)) for _ in range(int(KEPT_SECONDS / 5) + 1)]
    assert (found[0], found[-2:]) == (True, [True, False])


# The driver's files

FOUR_CORES = report(
    system_data={"neuron_hw_counters": ecc({}, {})},
    neuron_hardware_info={**HARDWARE, "logical_neuroncore_config": 1},
)
NO_ERRORS: Mapping[str, int] = {"hw_nc_ue_error": 0, "hw_collectives_error": 0}


def readings(*devices: DeviceReadings) -> HardwareReadings:
    return HardwareReadings(dict(enumerate(devices)))


def with_errors(**errors: int) -> HardwareReadings:
    """Return the readings of two devices; the second core of the second has these errors."""
    well = DeviceReadings(core_errors={0: NO_ERRORS, 1: NO_ERRORS})
    return readings(well, DeviceReadings(core_errors={0: NO_ERRORS, 1: {**NO_ERRORS, **errors}}))


def test_hardware_fault_is_a_problem_for_an_hour() -> None:
    judged = Judged()
    # Errors from before the exporter started are no event, nor are those of other machines.
    before = with_errors(hw_nc_ue_error=3, hw_collectives_error=1)
    assert judged.problems(FOUR_CORES, hardware=before) == {}
    bad = with_errors(hw_nc_ue_error=4, hw_collectives_error=2)
    found = judged.problems(FOUR_CORES, hardware=bad)["hardware_faults"]
    assert (found.detail, found.severity) == ("core 3", None)
    later = judged.problems(FOUR_CORES, hardware=bad)["hardware_faults"]
    assert later.since == found.since
    judged.harness.now += 3600
    assert judged.problems(FOUR_CORES, hardware=bad) == {}


def test_minor_hardware_faults_are_no_problem() -> None:
    judged = Judged()
    judged.problems(FOUR_CORES, hardware=with_errors())
    minor = with_errors(hw_collectives_error=1, hw_repairable_hbm_ue_error=1)
    assert judged.problems(FOUR_CORES, hardware=minor) == {}


def test_unhealthy_device_names_its_components() -> None:
    judged = Judged()
    well = DeviceReadings(health={"hbm": 1.0, "sram": 1.0})
    bad = DeviceReadings(health={"hbm": 0.0, "sram": 0.0})
    assert judged.problems(FOUR_CORES, hardware=readings(well, well)) == {}
    found = judged.problems(FOUR_CORES, hardware=readings(well, bad))["device_unhealthy"]
    assert found.detail == "device 1 (hbm, sram)"
    assert judged.problems(FOUR_CORES, hardware=readings(well, well)) == {}
