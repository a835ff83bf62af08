"""A check that hangs is abandoned."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from neuron_exporter.doctor import runner
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.doctor.runner import Check, run_checks


def test_hanging_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings so far are kept, and the next check runs after the timeout."""
    release = threading.Event()

    def hangs(context: Context) -> Iterator[Finding]:
        yield Subject("hangs").ok("seen")
        release.wait(60)

    def passing(context: Context) -> Iterator[Finding]:
        yield Subject("passing").ok("seen")

    checks = (Check(Subject("hangs"), hangs, 1.0), Check(Subject("passing"), passing, 60.0))
    monkeypatch.setattr(runner, "CHECKS", checks)
    findings = run_checks(Context({}))
    assert next(findings).seen == "seen"
    abandoned, last = findings
    assert abandoned == Subject("hangs").warning(
        "the check did not finish within 1 s", "a file system, a driver or a name server hangs"
    )
    assert last.subject == "passing"
    release.set()
