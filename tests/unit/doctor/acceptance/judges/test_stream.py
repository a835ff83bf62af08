"""Judgements on lines, periods, groups, fields and names."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from tests.support.evidence import add, evidence_of, judge, result
from tests.support.reports import executions, group, report, runtime

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN


def system(period: float = 5.0, **changes: Any) -> dict[str, Any]:
    """Return a report with all groups of the machine; None leaves one out."""
    groups: dict[str, Any] = {
        "vcpu_usage": group(period=period),
        "memory_info": group(period=period),
        "neuron_hw_counters": group(period=period, neuron_devices=[]),
        **changes,
    }
    return report(system_data={name: each for name, each in groups.items() if each is not None})


FIRST = system(period=0.05)


def test_invalid_lines_and_restarts() -> None:
    evidence = evidence_of(FIRST, system())
    assert result("lines", evidence) is HELD
    evidence.stream.invalid_lines["lines (not_json)"] = 2
    evidence.restart("exited")
    found = judge("lines", evidence)
    assert found.result is CONTRADICTED
    assert "2 lines (not_json)" in found.evidence
    assert "a restart: exited" in found.evidence


def test_length_of_lines() -> None:
    assert result("line-length", evidence_of(system(), max_line=2**24)) is HELD
    assert result("line-length", evidence_of(system(), max_line=500)) is CONTRADICTED


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([FIRST, system(), system()], HELD),
        ([system(), system()], CONTRADICTED),
        ([FIRST, system(), system(period=0.2)], CONTRADICTED),
        ([FIRST], NOT_SEEN),
    ],
)
def test_first_report(reports: list[dict[str, Any]], expected: Result) -> None:
    assert result("first-report", evidence_of(*reports)) is expected


def test_first_report_of_another_process() -> None:
    """It was not read."""
    evidence = evidence_of(FIRST, system(), is_own_child=False)
    assert result("first-report", evidence) is NOT_SEEN


def test_first_report_after_a_restart() -> None:
    evidence = evidence_of(FIRST, system())
    evidence.restart("exited")
    add(evidence, FIRST, system())
    assert result("first-report", evidence) is HELD


def test_configured_period() -> None:
    reports = [FIRST, *[system()] * 4]
    assert result("period", evidence_of(*reports)) is HELD
    assert result("period", evidence_of(*reports, period=1.0)) is CONTRADICTED
    assert result("period", evidence_of(*reports, every=1.0)) is CONTRADICTED
    assert result("period", evidence_of(*reports, period=None)) is NOT_SEEN
    assert result("period", evidence_of(*reports[:3])) is NOT_SEEN


def test_missing_groups() -> None:
    assert result("groups", evidence_of(FIRST, system())) is HELD
    missing = evidence_of(FIRST, system(memory_info=None))
    assert judge("groups", missing).evidence == "missing: memory_info in 1 of 2 reports"
    of_runtime = report(runtime(execution_stats=executions()), **{
        "system_data": system()["system_data"]
    })  # fmt: skip
    found = judge("groups", evidence_of(of_runtime))
    assert found.result is CONTRADICTED
    assert "memory_used in 1 of 1 runtimes" in found.evidence
    foreign = evidence_of(system(memory_info=None), requested=frozenset())
    assert result("groups", foreign) is NOT_SEEN


def test_unknown_fields() -> None:
    assert result("fields", evidence_of(system())) is HELD
    newer = system(thermal={"period": 5.0, "error": ""})
    found = judge("fields", evidence_of(system(), newer, newer))
    assert found == (CONTRADICTED, "not understood: system_data.thermal")
    with_text = report(**{"My host is i-0123456789abcdef0": 1})
    assert "i-0123" not in judge("fields", evidence_of(with_text)).evidence


def test_invalid_values() -> None:
    assert result("values", evidence_of(system())) is HELD
    wrong = system(memory_info=group(memory_used_bytes="secret"))
    found = judge("values", evidence_of(wrong))
    assert found.result is CONTRADICTED
    assert found.evidence.startswith("system_data.memory_info.memory_used_bytes: ")
    assert "secret" not in found.evidence


def test_unknown_names() -> None:
    known = report(runtime(execution_stats=executions(3, latency={"p50": 1.0})))
    assert result("names", evidence_of(known)) is HELD
    assert result("names", evidence_of(system())) is NOT_SEEN
    new = report(runtime(execution_stats=executions(3, throttled=1, latency={"p95": 1.0})))
    found = judge("names", evidence_of(known, new))
    assert found.evidence == "not understood: execution_summary: throttled, latency_stats: p95"


def test_errors_of_groups() -> None:
    evidence = evidence_of(system())
    assert judge("group-errors", evidence) == (HELD, "no group has an error")
    vcpu = group("open /proc/20843/stat: no such file or directory")
    container = report(runtime(neuron_runtime_vcpu_usage=vcpu))
    assert result("group-errors", evidence_of(container)) is HELD
    broken = evidence_of(system(memory_info=group("cannot be read")))
    assert result("group-errors", broken) is CONTRADICTED


def test_error_texts_have_no_numbers_and_no_secrets() -> None:
    texts = ["open /proc/20843/stat: no such file", "token=abc123def refused"]
    evidence = evidence_of(*(system(memory_info=group(text)) for text in texts * 30))
    assert evidence.stream.error_texts == {
        "memory_info: open /proc/N/stat: no such file": 30,
        "memory_info: token=*** refused": 30,
    }
