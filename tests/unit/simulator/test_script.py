"""Scripts: steps over time, and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neuron_exporter.simulator.context import NextAction, Output
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.simulator.script import load
from tests.support.commands import run
from tests.support.documents import block
from tests.support.simulated import SMALL, Report, busy, completed

WriteScript = Callable[[str | bytes], str]


@pytest.fixture
def write_script(tmp_path: Path) -> WriteScript:
    """Return a function that writes a script and returns its path."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "script.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def reports_of(script: str, seconds: int, *flags: str) -> dict[float, Report]:
    """Return the reports of the first seconds of a script, by their time."""
    machine = Machine(parse(["--script", script, *SMALL, *flags]))
    found = {}
    while machine.next_at is not None and machine.next_at <= seconds:
        at = machine.next_at
        found[at] = machine.report(len(found))
    return found


def outputs_of(script: str, seconds: int) -> dict[float, Output]:
    """Return the outputs of the first seconds of a script, by their time."""
    machine = Machine(parse(["--script", script, *SMALL]))
    found = {}
    while machine.next_at is not None and machine.next_at <= seconds:
        at = machine.next_at
        found[at] = machine.output(len(found))
    return found


def pids(report: Report) -> list[int]:
    """Return the process ids of all runtimes."""
    return [runtime["pid"] for runtime in report["neuron_runtime_data"]]


def test_steps(write_script: WriteScript) -> None:
    """A step takes effect at the first report of its time and changes only what it names."""
    script = write_script(
        """
        - {at: 0s, scenario: idle}
        - {at: 12s, scenario: training}
        - {at: 30s, runtimes: 2}
        - {at: 50s, scenario: idle}
        """
    )
    reports = reports_of(script, 60)
    counts = {at: len(pids(report)) for at, report in reports.items()}
    assert counts == {at: 0 if at < 15 else 4 if at < 30 else 2 for at in range(0, 61, 5)}
    assert all(min(busy(reports[at]).values()) > 80 for at in (15, 20, 25, 30, 45))
    assert set(busy(reports[50]).values()) == {0.0}


def test_change_starts_new_processes(write_script: WriteScript) -> None:
    """A changed number of runtimes replaces all processes."""
    reports = reports_of(write_script("- {at: 10s, runtimes: 6}\n- {at: 20s, runtimes: 4}"), 30)
    before, during, after = pids(reports[5]), pids(reports[15]), pids(reports[25])
    assert (len(before), len(during), len(after)) == (4, 6, 4)
    assert len({*before, *during, *after}) == 14
    assert pids(reports[10]) == during
    (first, *_) = reports[10]["neuron_runtime_data"]
    (later, *_) = reports[15]["neuron_runtime_data"]
    assert first["report"]["memory_used"]["period"] < 0.1 < later["report"]["memory_used"]["period"]


def test_flags_before_the_first_step(write_script: WriteScript) -> None:
    """Flags set the initial state, and --faults apply in addition to the script."""
    script = write_script("- {at: 10s, scenario: inference}")
    flags = ("--scenario", "idle", "--runtimes", "3", "--faults", "same-tags")
    for at, report in reports_of(script, 20, *flags).items():
        assert len(pids(report)) == 3
        assert (max(busy(report).values()) > 0) is (at >= 10)
        assert {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}


def test_fault_with_an_end(write_script: WriteScript) -> None:
    """`for` ends all faults of a step."""
    script = write_script("- {at: 10s, fault: [hang, same-tags], for: 12s}")
    for at, report in reports_of(script, 40).items():
        hangs = completed(report) == 0 and set(busy(report).values()) == {100.0}
        same = {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}
        assert hangs is same is (10 <= at < 22)


def test_lasting_fault_without_an_end(write_script: WriteScript) -> None:
    for at, report in reports_of(write_script("- {at: 11s, fault: hang}"), 100).items():
        assert (completed(report) == 0) is (at >= 15)


def test_repeated_fault(write_script: WriteScript) -> None:
    """A repeating fault occurs once, or repeatedly with `for`."""
    once = outputs_of(write_script("- {at: 11s, fault: garbage}"), 300)
    assert [at for at, each in once.items() if b"level=warn" in each.stdout] == [15]
    repeated = outputs_of(write_script("- {at: 100s, fault: garbage, for: 2m}"), 400)
    times = [at for at, each in repeated.items() if b"level=warn" in each.stdout]
    assert 2 <= len(times) <= 14
    assert 100 <= min(times) <= max(times) < 220


def test_crash_and_stall(write_script: WriteScript) -> None:
    """A crash and a stall occur at the first report of their time."""
    outputs = outputs_of(write_script("- {at: 7s, fault: crash}\n- {at: 20s, fault: stall}"), 25)
    assert {at: each.next_action for at, each in outputs.items()} == {
        0: NextAction.CONTINUE,
        5: NextAction.CONTINUE,
        10: NextAction.EXIT,
        15: NextAction.CONTINUE,
        20: NextAction.HANG,
        25: NextAction.CONTINUE,
    }


def test_documented_script(write_script: WriteScript) -> None:
    """The example in docs/simulator.md ends with its crash."""
    steps = load(write_script(block("docs/simulator.md", "yaml", "{at: ")))
    assert len(steps) >= 4
    script = write_script(block("docs/simulator.md", "yaml", "{at: "))
    finished = run("simulate", "--speed", "0", "--script", script, *SMALL)
    assert (finished.status, finished.err) == (1, "simulated crash\n")


SCENARIO_NAMES = ", ".join(SCENARIOS)
FAULT_NAMES = ", ".join(FAULTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": must be a list of steps, such as - {at: 30s, fault: crash}"),
        ("[]", ": must be a list of steps, such as - {at: 30s, fault: crash}"),
        ("at: 30s", ": must be a list of steps, such as - {at: 30s, fault: crash}"),
        ("- crash", ":1: a step must be a mapping, such as {at: 30s, fault: crash} (got 'crash')"),
        ("- [at]", ":1: a step must be a mapping, such as {at: 30s, fault: crash} (got a list)"),
        ("- &a [*a]", ":1: a step must be a mapping, such as {at: 30s, fault: crash} (got a list)"),
        (
            "- {at: 1s, faults: hang}",
            ":1: a step's key: must be one of at, scenario, runtimes, fault, for (got 'faults')",
        ),
        (
            "- {at: 1s, [a]: b}",
            ":1: a step's key: must be one of at, scenario, runtimes, fault, for (got a list)",
        ),
        ("- at: 1s\n  at: 2s", ":2: at: must occur only once"),
        ("- {fault: hang}", ":1: at: is missing; every step must have a time, such as 30s"),
        ("- {at: 1s}", ":1: a step must have a scenario, runtimes or a fault"),
        (
            "- at: 30\n  fault: hang",
            ':1: at: must be a duration such as "5s", "1m30s" or "2h" (got \'30\')',
        ),
        (
            "- at: 1s\n  fault: hang\n  for: [1s]",
            ':3: for: must be a duration such as "5s", "1m30s" or "2h" (got a list)',
        ),
        (
            "- {at: 1s, fault: hang}\n\n- {at: 500ms, fault: hang}",
            ":3: at: must not be before 1s, the step above (got '500ms')",
        ),
        (
            "- at: 1s\n  scenario: trainig",
            f":2: scenario: must be one of {SCENARIO_NAMES} (got 'trainig')",
        ),
        (
            "- at: 1s\n  fault:\n  - hang\n  - boom",
            f":4: fault: must be one of {FAULT_NAMES} (got 'boom')",
        ),
        ("- {at: 1s, fault: []}", f":1: fault: must be one of {FAULT_NAMES} (got [])"),
        ("- {at: 1s, fault: {}}", f":1: fault: must be one of {FAULT_NAMES} (got a mapping)"),
        (
            "- {at: 1s, runtimes: 1025}",
            ":1: runtimes: must be a whole number from 0 to 1024 (got '1025')",
        ),
        (
            "- {at: 1s, runtimes: -1}",
            ":1: runtimes: must be a whole number from 0 to 1024 (got '-1')",
        ),
        (
            "- {at: 1s, runtimes: x}",
            ":1: runtimes: must be a whole number from 0 to 1024 (got 'x')",
        ),
        (
            "- {at: 1s, runtimes: 3, for: 1s}",
            ":1: for: must be used with a fault",
        ),
        ("- {at: 1s, fault: crash, for: 1s}", ":1: for: must be used with garbage,"),
        ("- {at: 1s", ":1: is not YAML: "),
        ("- a: b: c", ":1: is not YAML: "),
        (b"- \xff", ": is not YAML: "),
        ("- \x00", ": is not YAML: "),
        ("[" * 600, ": is not YAML: "),
    ],
)
def test_invalid_script(
    write_script: WriteScript, capsys: pytest.CaptureFixture[str], text: str | bytes, message: str
) -> None:
    """The error is one line with the position, the value and what is allowed."""
    path = write_script(text)
    with pytest.raises(SystemExit) as ended:
        parse(["--script", path])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    last = err.splitlines()[-1]
    prefix = f"neuron-exporter simulate: error: argument --script: {path}"
    assert last.startswith(prefix + message)


def test_missing_script(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--script", "/nowhere/script.yaml"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(
        "--script: /nowhere/script.yaml: cannot be read: No such file or directory"
    )
