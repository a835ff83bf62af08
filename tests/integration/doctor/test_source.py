"""The doctor runs real children, healthy and failing, for a limited time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from neuron_exporter.doctor import source
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import ScrapedMetrics
from neuron_exporter.doctor.source import check
from neuron_exporter.model import SourceState
from tests.support.children import LINE, child, script
from tests.support.doctor import make_context, seen_with
from tests.support.exporter import SIMULATOR
from tests.support.processes import alive
from tests.support.waiting import wait_for


def metrics_in(state: str, more: str = "") -> ScrapedMetrics:
    """Return the metrics of an exporter whose source is in this state."""
    lines = [
        f'neuron_exporter_source_state{{state="{each}"}} {int(each == state)}'
        for each in SourceState
    ]
    return ScrapedMetrics(
        "\n".join(
            [
                'neuron_exporter_build_info{version="1"} 1',
                *lines,
                "neuron_exporter_report_period_seconds 5.0",
                more,
                "",
            ]
        )
    )


def check_command(*command: str, **settings: object) -> list[Finding]:
    """Check a source with this command, without a running exporter."""
    context = make_context(source__command=list(command), source__period="1s", **settings)
    return list(check(context))


def test_healthy_source() -> None:
    """The simulator is found, sends reports and keeps its period; two reports show it."""
    findings = check_command(*SIMULATOR)
    program, report, period = seen_with(findings, Verdict.OK)
    (simulated,) = [each for each in findings if each.verdict is not Verdict.OK]
    assert simulated.seen == "the reports are simulated or replayed, not measured on this machine"
    assert program == f"the program is {sys.executable}"
    assert report.startswith("it sends reports (the last one: ")
    assert period.endswith(" (source.period is 1s)")


def test_child_and_its_children_end(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = script(
        tmp_path / "monitor", f"sleep 600 & echo $$ $! > {pids}; exec {' '.join(SIMULATOR)} $@"
    )
    assert seen_with(check_command(str(program)), Verdict.FAILED) == []
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)))


def test_missing_program() -> None:
    (finding,) = check_command("no-such-monitor")
    assert finding.verdict is Verdict.FAILED
    assert "/opt/aws/neuron/bin" in finding.seen
    assert "aws-neuronx-tools" in finding.fix


def test_program_without_execute_permission(tmp_path: Path) -> None:
    path = script(tmp_path / "monitor", "true")
    path.chmod(0o644)
    (finding,) = check_command(str(path))
    assert finding == Finding(
        "source",
        Verdict.FAILED,
        f"{path} is not executable for this user",
        f"chmod a+x {path}",
    )


def test_exited_program(tmp_path: Path) -> None:
    """The finding has the last stderr line; the program is started once."""
    starts = tmp_path / "starts"
    program = f"echo one >> {starts}; echo FATA: no device >&2; exit 3"
    findings = check_command("sh", "-c", program)
    assert starts.read_text() == "one\n"
    (seen,) = seen_with(findings, Verdict.FAILED)
    assert seen == "exited: sh exited with status 3; last stderr line: FATA: no device"


def test_report_without_devices() -> None:
    findings = check_command(*child("no-driver", "sleep 0.2", "no-driver", "forever"))
    assert any("no_driver" in seen for seen in seen_with(findings, Verdict.FAILED))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("while :; do echo nonsense; sleep 0.1; done", "garbage: "),
        (
            "echo '3 devices missing' >&2; sleep 600",
            "stalled: no output for 1.5 s; last stderr line: 3",
        ),
    ],
)
def test_garbage_and_silence(script: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source without reports is stopped after the timeout, and its output is reported."""
    monkeypatch.setattr(source, "REPORT_TIMEOUT", 0.5)
    (seen,) = seen_with(check_command("sh", "-c", script), Verdict.FAILED)
    assert seen.startswith(expected)


def test_group_errors_are_grouped_by_fix() -> None:
    findings = check_command(*SIMULATOR, "--faults", "error-groups")
    warnings = [each for each in findings if each.verdict is Verdict.WARNING]
    (vcpu,) = [each for each in warnings if "neuron_runtime_vcpu_usage" in each.seen]
    assert "no such file or directory" in vcpu.seen
    assert "hostPID" in vcpu.fix


def test_other_period_than_configured() -> None:
    line = LINE.decode().strip()
    program = f"echo '{line}'; sleep 3; echo '{line}'; sleep 600"
    findings = check_command("sh", "-c", program)
    (seen,) = seen_with(findings, Verdict.WARNING)
    found = re.fullmatch(r"one report every (\d+\.\d) s \(source.period is 1s\)", seen)
    assert found
    assert float(found[1]) >= 2.9


def test_source_is_not_started_twice() -> None:
    """Beside an exporter that gets reports or is paused, its metrics are used instead."""
    errors = 'neuron_exporter_group_errors_total{group="neuron_runtime_vcpu_usage"} 7'
    for state in ("ok", "starting", "paused"):
        context = make_context(source__command=["sh", "-c", "echo started >&2; exit 1"])
        context.is_running, context.scraped = True, metrics_in(state, errors)
        findings = list(check(context))
        assert seen_with(findings, Verdict.FAILED) == []
        assert context.sample is None
        (seen,) = seen_with(findings, Verdict.WARNING)
        assert "neuron_runtime_vcpu_usage (7)" in seen
        verdict = Verdict.OK if state == "ok" else Verdict.SKIPPED
        (about,) = [each for each in findings if "not started a second time" in each.seen]
        assert about.verdict is verdict
        assert state == "ok" or about.seen.endswith(
            f"the source of the running exporter is {state}"
        )


def test_dead_source_is_started_once_more() -> None:
    context = make_context(source__command=["sh", "-c", "echo why >&2; exit 1"])
    context.is_running, context.scraped = True, metrics_in("exited")
    (seen,) = seen_with(check(context), Verdict.FAILED)
    assert seen.endswith("last stderr line: why")


def test_unreadable_exporter_is_not_disturbed() -> None:
    context = make_context(source__command=[*SIMULATOR])
    context.is_running = True
    (skipped,) = seen_with(check(context), Verdict.SKIPPED)
    assert "not started a second time" in skipped


def test_file_and_stdin(tmp_path: Path) -> None:
    """A file is read as by the exporter; standard input is left to the exporter."""
    good, empty = tmp_path / "good", tmp_path / "empty"
    good.write_bytes(LINE)
    empty.write_bytes(b"nothing\n")
    (seen,) = seen_with(
        check(make_context(source__kind="file", source__path=str(good))), Verdict.OK
    )
    assert seen.startswith("it sends reports")
    (seen,) = seen_with(
        check(make_context(source__kind="file", source__path=str(empty))), Verdict.FAILED
    )
    assert "contains no report of neuron-monitor" in seen
    assert seen_with(check(make_context(source__kind="stdin")), Verdict.SKIPPED)
