"""All checks are made, in their order and in time, whatever happens in one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from neuron_exporter.doctor import runner as examination
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, Verdict, failed, ok, skipped, warning
from neuron_exporter.doctor.runner import CHECKS, Check, examine, status


def well(case: Case) -> Iterator[Finding]:
    """A check that finds nothing wrong."""
    yield ok("well", "seen")


def broken(case: Case) -> Iterator[Finding]:
    """A check with a bug."""
    yield ok("broken", "seen")
    raise KeyError("geheim")


def test_a_bug_in_one_check_costs_that_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had found is told, its failure too, without what the error says; the next follow."""
    for seconds in (None, 5.0):
        checks = (Check("broken", broken, seconds), Check("well", well, seconds))
        monkeypatch.setattr(examination, "CHECKS", checks)
        found = list(examine(Case({})))
        assert [each.verdict for each in found] == [Verdict.OK, Verdict.WARNING, Verdict.OK]
        assert found[1].seen == "the check itself failed: KeyError"


def test_a_check_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had found is told at once; after its time it is said what is missing, and the next
    check begins."""
    over = threading.Event()

    def hangs(case: Case) -> Iterator[Finding]:
        yield ok("hangs", "seen")
        over.wait(60)

    checks = (Check("hangs", hangs, 1.0), Check("well", well, 1.0))
    monkeypatch.setattr(examination, "CHECKS", checks)
    told = examine(Case({}))
    assert next(told).seen == "seen"
    began = time.monotonic()
    left, last = told
    assert time.monotonic() - began < 10
    assert left == warning(
        "hangs",
        "not found out within 1 s",
        "something hangs: a file system, a driver, a name server",
    )
    assert last.subject == "well"
    over.set()


def test_every_check_is_bounded() -> None:
    """README's bound holds: what all may take, besides the source, which keeps its own time."""
    bounds = {check.subject: check.seconds for check in CHECKS}
    assert [subject for subject, seconds in bounds.items() if seconds is None] == ["source"]
    assert sum(seconds or 0.0 for seconds in bounds.values()) <= 85


def test_only_failures_fail() -> None:
    """Warnings leave the exit status 0, so that a script can tell what works from what does not."""
    mild = [ok("a", ""), warning("b", "", ""), skipped("c", "")]
    assert status(mild) == 0
    assert status([*mild, failed("d", "", "")]) == 1
