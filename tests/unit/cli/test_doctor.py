"""`doctor --check` for health checkers: a crash of the doctor is not a problem of the machine."""

from __future__ import annotations

import sys

import pytest

from neuron_exporter.cli.doctor import _parse_run, run
from neuron_exporter.cli.registry import make_parser
from neuron_exporter.doctor import health
from neuron_exporter.doctor.context import RunArguments

CHECK = ["--check", "devices"]


def answer(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    """Return the exit status of the doctor, and its output."""
    status = run(make_parser("doctor").parse_args([*CHECK, *flags]))
    return status, capsys.readouterr().out


def test_arguments_of_another_version_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _parse_run(["--config", "x.yaml"]) == RunArguments("x.yaml", [])
    assert _parse_run(["--flag-of-tomorrow"]) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("flags", [(), ("--json",)])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start\nnew thread")])
def test_doctor_that_crashes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    flags: tuple[str, ...],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(health, "run_checks", fail)
    status, out = answer(capsys, *flags)
    (line,) = out.splitlines()
    assert status == 2
    assert line.startswith(f"unknown: the doctor itself failed: {type(error).__name__}(")


@pytest.mark.parametrize("module", ["health", "runner"])
def test_doctor_that_is_damaged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    """As in the middle of an upgrade."""
    monkeypatch.setitem(sys.modules, f"neuron_exporter.doctor.{module}", None)
    status, line = answer(capsys)
    assert status == 2
    assert line.startswith("unknown: the doctor itself failed: ModuleNotFoundError(")
