"""All checks run in order and have time limits, whatever one of them does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter import log
from neuron_exporter.doctor import runner
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject, Verdict
from neuron_exporter.doctor.runner import CHECKS, Check, exit_status, run_checks, run_doctor
from neuron_exporter.sinks.delivery.deadline import Abort


def passing(context: Context) -> Iterator[Finding]:
    """Yield one OK finding."""
    yield Subject("passing").ok("seen")


def failing(context: Context) -> Iterator[Finding]:
    """Yield a finding, then raise."""
    yield Subject("failing").ok("seen")
    raise KeyError("geheim")


def test_exception_in_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings so far are kept, the error message is not shown, and the next check runs."""
    for timeout in (None, 60.0):
        checks = (
            Check(Subject("failing"), failing, timeout),
            Check(Subject("passing"), passing, timeout),
        )
        monkeypatch.setattr(runner, "CHECKS", checks)
        found = list(run_checks(Context({})))
        assert [each.verdict for each in found] == [Verdict.OK, Verdict.WARNING, Verdict.OK]
        assert found[1].seen == "the check itself failed: KeyError"


def test_invalid_settings_in_a_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are the user's error, which the configuration's check describes, and no bug."""
    path = tmp_path / "exporter.yaml"
    path.write_text("source: {kind: file}\n")
    monkeypatch.setattr(
        runner,
        "CHECKS",
        tuple(each for each in CHECKS if each.subject in ("configuration", "source")),
    )
    invalid, source = run_checks(Context({}, str(path)))
    assert invalid.subject == "configuration"
    assert invalid.seen == f'{path}:1: source.path: is required for source.kind "file"'
    assert source == Subject("source").skipped(
        "settings that it needs are invalid (see configuration)"
    )


def test_missing_permission_in_a_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The finding names the path, the reason and the user."""

    def check(context: Context) -> Iterator[Finding]:
        yield Subject("reading").ok((tmp_path / "none").read_text())

    monkeypatch.setattr(runner, "CHECKS", (Check(Subject("reading"), check, 60.0),))
    (found,) = run_checks(Context({}))
    reason = f"{tmp_path}/none: No such file or directory (user {os.geteuid()})"
    assert found == Subject("reading").warning(
        f"the check is incomplete: {reason}",
        "run the doctor as the user of the exporter, or as root",
    )


def test_abort_in_a_destructor_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    monkeypatch.setattr(log, "configure", lambda _: None)

    class Connection:
        def __del__(self) -> None:
            raise Abort

    def connect(context: Context) -> Iterator[Finding]:
        Connection()
        yield Subject("passing").ok("seen")

    monkeypatch.setattr(runner, "CHECKS", (Check(Subject("passing"), connect, 60.0),))
    assert run_doctor(None, {}, lambda _: None, json=True, send=False, bundle=None) == 0
    assert printed == []


def test_every_check_has_a_timeout() -> None:
    """docs/doctor.md states the bound; only the source limits itself."""
    timeouts = {check.subject: check.timeout for check in CHECKS}
    assert [subject for subject, timeout in timeouts.items() if timeout is None] == ["source"]
    assert sum(timeout or 0.0 for timeout in timeouts.values()) <= 115


def test_exit_status() -> None:
    without_failure = [Subject("a").ok(""), Subject("b").warning("", ""), Subject("c").skipped("")]
    assert exit_status(without_failure) == 0
    assert exit_status([*without_failure, Subject("d").failed("", "")]) == 1
