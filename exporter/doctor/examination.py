"""All checks, in the order in which things depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from exporter.doctor import (
    cloudwatch,
    configuration,
    devices,
    driver,
    exporter,
    identity,
    limits,
    owners,
    source,
    spool,
)
from exporter.doctor.case import Case
from exporter.doctor.finding import Finding, Verdict, warning
from exporter.sinks.cloudwatch.attempt import Attempts, Overdue


class Check(NamedTuple):
    """A subject, and how many seconds may be spent on it; None where it keeps its own time."""

    subject: str
    examine: Callable[[Case], Iterator[Finding]]
    seconds: float | None


CHECKS = (
    Check(configuration.SUBJECT, configuration.examine, 5.0),
    Check(exporter.SUBJECT, exporter.examine, 8.0),
    Check(source.SUBJECT, source.examine, None),  # its child dies with the thread that started it
    Check(driver.SUBJECT, driver.examine, 2.0),
    Check(devices.SUBJECT, devices.examine, 8.0),
    Check(identity.SUBJECT, identity.examine, 8.0),
    Check(owners.SUBJECT, owners.examine, 2.0),
    Check(cloudwatch.SUBJECT, cloudwatch.examine, 40.0),
    Check(spool.SUBJECT, spool.examine, 3.0),
    Check(limits.SUBJECT, limits.examine, 2.0),
)


def examine(case: Case, tell: Callable[[Finding], None]) -> list[Finding]:
    """Make all checks, and tell each finding as soon as there is one. Does not raise."""
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    for check in CHECKS:
        _make(check, case, note)
    return findings


def status(findings: list[Finding]) -> int:
    """The exit status: 1 where something has failed."""
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


def _make(check: Check, case: Case, note: Callable[[Finding], None]) -> None:
    def make() -> None:
        for finding in check.examine(case):
            note(finding)

    try:
        if check.seconds is None:
            make()
        else:
            Attempts[None]().make(make, check.seconds)
    except Overdue:
        seen = f"not found out within {check.seconds:g} s"
        note(
            warning(check.subject, seen, "something hangs: a file system, a driver, a name server")
        )
    except Exception as error:  # noqa: BLE001 (one check never takes the others down)
        seen = f"the check itself failed: {type(error).__name__}"
        note(warning(check.subject, seen, "report this, with what --bundle writes"))
