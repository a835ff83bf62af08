"""The doctor listens to real children, well and sick, and never for long."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from neuron_exporter.doctor import source
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.doctor.source import examine
from neuron_exporter.model import SourceState
from tests.support.children import LINE, child, script
from tests.support.doctoring import case, of
from tests.support.exporter import SIMULATOR
from tests.support.processes import alive
from tests.support.waiting import wait_for


def exposed(state: str, more: str = "") -> Exposed:
    """What an exporter in this state says of itself."""
    lines = [
        f'neuron_exporter_source_state{{state="{each}"}} {int(each == state)}'
        for each in SourceState
    ]
    return Exposed(
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


def listening(*command: str, **settings: object) -> list[Finding]:
    """What is found out of a source with this command, alone."""
    told = case(source__command=list(command), source__period="1s", **settings)
    return list(examine(told))


def test_a_source_that_is_well() -> None:
    """The simulator is found, reports, and keeps its period; two reports are enough to see it."""
    began = time.monotonic()
    findings = listening(*SIMULATOR)
    assert time.monotonic() - began < source.PATIENCE
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    program, report, period = [finding.seen for finding in findings]
    assert program == f"its program is {sys.executable}"
    assert report.startswith("it reports: ")
    assert period.endswith(", asked for every 1s")


def test_nothing_is_left_of_what_was_listened_to(tmp_path: Path) -> None:
    """The child and all that it has started have ended when the doctor has heard enough."""
    pids = tmp_path / "pids"
    program = script(
        tmp_path / "monitor", f"sleep 600 & echo $$ $! > {pids}; exec {' '.join(SIMULATOR)} $@"
    )
    assert of(listening(str(program)), Verdict.FAILED) == []
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)))


def test_no_program() -> None:
    """One line says where it was looked for, and nothing is started."""
    (finding,) = listening("no-such-monitor")
    assert finding.verdict is Verdict.FAILED
    assert "/opt/aws/neuron/bin" in finding.seen
    assert "aws-neuronx-tools" in finding.fix


def test_a_program_that_may_not_be_executed(tmp_path: Path) -> None:
    """A file without the right to be executed is told from none."""
    path = script(tmp_path / "monitor", "true")
    path.chmod(0o644)
    (finding,) = listening(str(path))
    assert finding == Finding(
        "source",
        Verdict.FAILED,
        f"{path} may not be executed by this user",
        f"chmod a+x {path}",
    )


def test_the_last_words_of_a_program_that_ends(tmp_path: Path) -> None:
    """Why it ended is what it said last; it is started once."""
    starts = tmp_path / "starts"
    program = f"echo one >> {starts}; echo FATA: no device >&2; exit 3"
    findings = listening("sh", "-c", program)
    assert starts.read_text() == "one\n"
    (seen,) = of(findings, Verdict.FAILED)
    assert seen == "exited: sh exited with status 3; its last words: FATA: no device"


def test_a_driver_that_does_not_answer() -> None:
    """A report without any device is no health."""
    findings = listening(*child("no-driver", "sleep 0.2", "no-driver", "forever"))
    assert any("no_driver" in seen for seen in of(findings, Verdict.FAILED))


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("while :; do echo nonsense; sleep 0.1; done", "garbage: "),
        ("echo '3 devices missing' >&2; sleep 600", "stalled: it said nothing for 1.5 s; its last"),
    ],
)
def test_garbage_and_silence_are_borne_for_so_long(
    script: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that hangs, or prints something else, is left after a period and ten seconds (here
    half a second), and what it said is told."""
    monkeypatch.setattr(source, "PATIENCE", 0.5)
    began = time.monotonic()
    (seen,) = of(listening("sh", "-c", script), Verdict.FAILED)
    assert time.monotonic() - began < 5
    assert seen.startswith(wanted)


def test_groups_with_errors_are_gathered_by_what_helps() -> None:
    """The group that needs the host's process ids is explained; its fix is not that of others."""
    findings = listening(*SIMULATOR, "--faults", "error-groups")
    warnings = [each for each in findings if each.verdict is Verdict.WARNING]
    (vcpu,) = [each for each in warnings if "neuron_runtime_vcpu_usage" in each.seen]
    assert "no such file or directory" in vcpu.seen
    assert "hostPID" in vcpu.fix


def test_a_period_that_is_not_kept() -> None:
    """neuron-monitor that goes by another period than the one it was asked for is noticed."""
    line = LINE.decode().strip()
    program = f"echo '{line}'; sleep 3; echo '{line}'; sleep 600"
    findings = listening("sh", "-c", program)
    (seen,) = of(findings, Verdict.WARNING)
    assert seen.startswith("a report every 3.")
    assert seen.endswith(" s, asked for every 1s")


def test_devices_are_not_opened_twice_without_need() -> None:
    """Beside an exporter that gets reports, or waits for a reset of the driver, no second
    neuron-monitor is started; what the exporter counted is told in its place."""
    errors = 'neuron_exporter_group_errors_total{group="neuron_runtime_vcpu_usage"} 7'
    for state in ("ok", "starting", "paused"):
        told = case(source__command=["sh", "-c", "echo started >&2; exit 1"])
        told.is_running, told.exposed = True, exposed(state, errors)
        findings = list(examine(told))
        assert of(findings, Verdict.FAILED) == []
        assert told.sample is None
        (seen,) = of(findings, Verdict.WARNING)
        assert "neuron_runtime_vcpu_usage (7)" in seen


def test_an_exporter_without_reports_is_helped_by_a_look() -> None:
    """Where the exporter's own source is dead, it is tried once more, to hear its words."""
    told = case(source__command=["sh", "-c", "echo why >&2; exit 1"])
    told.is_running, told.exposed = True, exposed("exited")
    (seen,) = of(examine(told), Verdict.FAILED)
    assert seen.endswith("its last words: why")


def test_an_exporter_that_cannot_be_asked_is_not_disturbed() -> None:
    """Nobody knows then whether it has the devices."""
    told = case(source__command=[*SIMULATOR])
    told.is_running = True
    (skipped,) = of(examine(told), Verdict.SKIPPED)
    assert "not started a second time" in skipped


def test_a_file_and_standard_input(tmp_path: Path) -> None:
    """A file is read as the exporter would; standard input is left to the exporter."""
    good, empty = tmp_path / "good", tmp_path / "empty"
    good.write_bytes(LINE)
    empty.write_bytes(b"nothing\n")
    (seen,) = of(examine(case(source__kind="file", source__path=str(good))), Verdict.OK)
    assert seen.startswith("it reports")
    (seen,) = of(examine(case(source__kind="file", source__path=str(empty))), Verdict.FAILED)
    assert "no report of neuron-monitor in it" in seen
    assert of(examine(case(source__kind="stdin")), Verdict.SKIPPED)
