"""The answer for health checkers: one line, the worst first, and an exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from neuron_exporter.doctor import runner
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.doctor.health import Health, as_json_line, as_line, check_health, judge
from neuron_exporter.doctor.runner import Check, run_checks
from neuron_exporter.sinks.delivery.deadline import Abort

SUBJECT = Subject("devices")
OK, WARNING = SUBJECT.ok("16 open"), SUBJECT.warning("15 processes", "end some")
FAILED, SKIPPED = SUBJECT.failed("neuron3 is gone", "replace it"), SUBJECT.skipped("no driver")


@pytest.mark.parametrize(
    ("findings", "health"),
    [
        ([OK, WARNING, SKIPPED], Health.OK),
        ([OK, FAILED], Health.PROBLEM),
        ([SKIPPED], Health.UNKNOWN),
        ([WARNING], Health.UNKNOWN),
        ([], Health.UNKNOWN),
    ],
)
def test_health_by_findings(findings: list[Finding], health: Health) -> None:
    assert judge(findings, is_complete=True) is health


def test_early_end_of_a_check() -> None:
    """What was seen until then is enough for a problem, not for health."""
    assert judge([OK], is_complete=False) is Health.UNKNOWN
    assert judge([OK, FAILED], is_complete=False) is Health.PROBLEM


def test_line_has_the_worst_findings() -> None:
    assert as_line(Health.PROBLEM, [FAILED, FAILED, OK]) == (
        "problem: neuron3 is gone; neuron3 is gone"
    )
    other = Subject("memory").failed("too little", "")
    assert as_line(Health.PROBLEM, [FAILED, other]) == (
        "problem: devices: neuron3 is gone; memory: too little"
    )
    assert as_line(Health.UNKNOWN, []) == "unknown: nothing was checked"


def test_json_is_one_line() -> None:
    assert "\n" not in as_json_line([FAILED, OK])
    assert json.loads(as_json_line([FAILED, OK])) == [FAILED._asdict(), OK._asdict()]


def test_abort_in_a_destructor_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)

    class Connection:
        def __del__(self) -> None:
            raise Abort

    def check(context: Context) -> Iterator[Finding]:
        Connection()
        yield OK

    monkeypatch.setattr(runner, "CHECKS", (Check(SUBJECT, check, 60.0),))
    assert check_health(["devices"], None, {}, lambda _: None, json=True)[0] is Health.OK
    assert printed == []


def test_worst_finding_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(context: Context) -> Iterator[Finding]:
        yield from (OK, SKIPPED, FAILED)

    monkeypatch.setattr(runner, "CHECKS", (Check(SUBJECT, check, 60.0),))
    health, line = check_health(["devices"], None, {}, lambda _: None, json=True)
    assert health is Health.PROBLEM
    assert [each["verdict"] for each in json.loads(line)] == ["failed", "ok", "skipped"]


def test_checks_that_a_subject_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run, in order, and their findings are not shown; a failure of theirs does not make the
    subject unknown."""
    ran: list[str] = []

    def check(name: str, *needs: Subject) -> Check:
        def run(context: Context) -> Iterator[Finding]:
            ran.append(name)
            yield Subject(name).ok("seen")
            if name == "exporter":
                raise OSError

        return Check(Subject(name), run, 60.0, needs)

    checks = (
        *(check("configuration"), check("exporter"), check("source"), check("driver")),
        check("identity", Subject("source")),
    )
    monkeypatch.setattr(runner, "CHECKS", checks)
    context = Context({})
    assert [each.subject for each in run_checks(context, ["identity"])] == ["identity"]
    assert ran == ["configuration", "exporter", "source", "identity"]
    assert context.incomplete == {"exporter"}


def test_needed_checks_exist() -> None:
    subjects = [check.subject for check in runner.CHECKS]
    for at, check in enumerate(runner.CHECKS):
        assert {*check.needs} <= {*subjects[:at]}
