"""Whether ECC readings are totals or counts of the period."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.sysfs import SysfsTree
from tests.support.evidence import add, evidence_of, judge, result
from tests.support.reports import ecc, report

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN
NAME = "mem_ecc_uncorrected"


def readings(*values: int) -> list[dict[str, Any]]:
    """Return reports in which device 1 has these readings."""
    return [report(system_data={"neuron_hw_counters": ecc({}, {NAME: each})}) for each in values]


def tree(total: int) -> SysfsTree:
    """Return sysfs with this total of device 1."""
    return SysfsTree(
        devices={0, 1}, values={(1, f"stats/hardware/{NAME}"): str(total), (0, "core_count"): "2"}
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 0), NOT_SEEN),
        ((0, 0, 2, 2), NOT_SEEN),
        ((0, 2, 2, 2, 2), HELD),
        ((1, 2, 3, 4), HELD),
        ((0, 2, 0, 0), CONTRADICTED),
        ((1, 2, 3, 4, 1), CONTRADICTED),
    ],
)
def test_level_or_tally(values: tuple[int, ...], expected: Result) -> None:
    assert result("ecc-level", evidence_of(*readings(*values))) is expected


def test_evidence_of_a_fall() -> None:
    assert judge("ecc-level", evidence_of(*readings(0, 2, 0, 1, 0))).evidence == (
        "in 5 reports, readings fell: mem_ecc_uncorrected of device 1 2 times: counts of the "
        "period, or resets"
    )


def test_restart_is_no_fall() -> None:
    evidence = evidence_of(*readings(5, 5))
    evidence.restart("exited")
    add(evidence, *readings(1, 1))
    assert result("ecc-level", evidence) is NOT_SEEN
    add(evidence, *readings(1))
    assert result("ecc-level", evidence) is HELD
    add(evidence, *readings(0))
    assert result("ecc-level", evidence) is CONTRADICTED


@pytest.mark.parametrize(
    ("reading", "before", "after", "expected"),
    [
        (3, 3, 3, HELD),
        (0, 3, 3, CONTRADICTED),
        (0, 0, 0, NOT_SEEN),
        (0, 0, 1, NOT_SEEN),
    ],
)
def test_totals_of_the_driver(reading: int, before: int, after: int, expected: Result) -> None:
    """The driver's files are totals, so that one nonzero reading is enough."""
    evidence = evidence_of(*readings(reading), sysfs_before=tree(before), sysfs_after=tree(after))
    assert result("ecc-level", evidence) is expected


@pytest.mark.parametrize(
    ("reading", "before", "after", "expected"),
    [(3, 3, 3, HELD), (4, 3, 5, HELD), (2, 3, 3, CONTRADICTED), (0, 0, 0, NOT_SEEN)],
)
def test_both_sources(reading: int, before: int, after: int, expected: Result) -> None:
    evidence = evidence_of(*readings(reading), sysfs_before=tree(before), sysfs_after=tree(after))
    assert result("sysfs-ecc", evidence) is expected


def test_groups_with_an_error_are_no_readings() -> None:
    failed = report(system_data={"neuron_hw_counters": ecc({NAME: 0}, error="failed")})
    evidence = evidence_of(*readings(2, 2, 2), failed, *readings(2))
    assert result("ecc-level", evidence) is HELD
    assert judge("ecc-level", evidence_of(failed)) == (NOT_SEEN, "no report has ECC readings")
