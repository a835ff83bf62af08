"""Scripted runs: what changes when, and scripts that cannot be played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neuron_exporter.simulator.context import Output, Then
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.simulator.script import load
from tests.support import readme
from tests.support.commands import run
from tests.support.simulated import SMALL, Report, busy, completed

Written = Callable[[str | bytes], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a script; gives its path."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "script.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def played(script: str, seconds: int, *flags: str) -> dict[float, Report]:
    """The reports of so many seconds, by their time."""
    machine = Machine(parse(["--script", script, *SMALL, *flags]))
    found = {}
    while machine.next_at is not None and machine.next_at <= seconds:
        at = machine.next_at
        found[at] = machine.report(len(found))
    return found


def outputs(script: str, seconds: int) -> dict[float, Output]:
    """What is written in so many seconds, by its time."""
    machine = Machine(parse(["--script", script, *SMALL]))
    found = {}
    while machine.next_at is not None and machine.next_at <= seconds:
        at = machine.next_at
        found[at] = machine.output(len(found))
    return found


def pids(report: Report) -> list[int]:
    """The process ids of all runtimes."""
    return [runtime["pid"] for runtime in report["neuron_runtime_data"]]


def test_a_step_changes_what_it_names(written: Written) -> None:
    """A scenario begins at the first report of its time; runtimes stay as they were last set."""
    script = written(
        """
        - {at: 0s, scenario: idle}
        - {at: 12s, scenario: training}
        - {at: 30s, runtimes: 2}
        - {at: 50s, scenario: idle}
        """
    )
    reports = played(script, 60)
    counts = {at: len(pids(report)) for at, report in reports.items()}
    assert counts == {at: 0 if at < 15 else 4 if at < 30 else 2 for at in range(0, 61, 5)}
    assert all(min(busy(reports[at]).values()) > 80 for at in (15, 20, 25, 30, 45))
    assert set(busy(reports[50]).values()) == {0.0}


def test_a_change_starts_other_processes(written: Written) -> None:
    """A new number of runtimes is a rollout: those that ran are gone, and none comes back with its
    process id; the first report of a newcomer covers moments only."""
    reports = played(written("- {at: 10s, runtimes: 6}\n- {at: 20s, runtimes: 4}"), 30)
    before, during, after = pids(reports[5]), pids(reports[15]), pids(reports[25])
    assert (len(before), len(during), len(after)) == (4, 6, 4)
    assert len({*before, *during, *after}) == 14
    assert pids(reports[10]) == during
    (first, *_) = reports[10]["neuron_runtime_data"]
    (later, *_) = reports[15]["neuron_runtime_data"]
    assert first["report"]["memory_used"]["period"] < 0.1 < later["report"]["memory_used"]["period"]


def test_flags_say_what_holds_until_the_first_step(written: Written) -> None:
    """--scenario and --runtimes are the state at the start, and --faults come on top."""
    script = written("- {at: 10s, scenario: inference}")
    flags = ("--scenario", "idle", "--runtimes", "3", "--faults", "same-tags")
    for at, report in played(script, 20, *flags).items():
        assert len(pids(report)) == 3
        assert (max(busy(report).values()) > 0) is (at >= 10)
        assert {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}


def test_a_fault_ends_when_it_is_said_to(written: Written) -> None:
    """With `for` a fault holds from its time up to its end; several at once share the time."""
    script = written("- {at: 10s, fault: [hang, same-tags], for: 12s}")
    for at, report in played(script, 40).items():
        hangs = completed(report) == 0 and set(busy(report).values()) == {100.0}
        same = {each["neuron_runtime_tag"] for each in report["neuron_runtime_data"]} == {"1"}
        assert hangs is same is (10 <= at < 22)


def test_a_fault_lasts_without_an_end(written: Written) -> None:
    """Without `for`, what lasts holds until the run ends."""
    for at, report in played(written("- {at: 11s, fault: hang}"), 100).items():
        assert (completed(report) == 0) is (at >= 15)


def test_a_fault_of_a_moment_comes_once(written: Written) -> None:
    """Without `for`, what comes often comes at one report; with it, again and again until then."""
    once = outputs(written("- {at: 11s, fault: garbage}"), 300)
    assert [at for at, each in once.items() if b"level=warn" in each.stdout] == [15]
    often = outputs(written("- {at: 100s, fault: garbage, for: 2m}"), 400)
    times = [at for at, each in often.items() if b"level=warn" in each.stdout]
    assert 2 <= len(times) <= 14
    assert 100 <= min(times) <= max(times) < 220


def test_faults_of_the_program_have_their_time(written: Written) -> None:
    """A crash and a stall come at the first report of their time."""
    written_at = outputs(written("- {at: 7s, fault: crash}\n- {at: 20s, fault: stall}"), 25)
    assert {at: each.then for at, each in written_at.items()} == {
        0: Then.GO_ON,
        5: Then.GO_ON,
        10: Then.EXIT,
        15: Then.GO_ON,
        20: Then.HANG,
        25: Then.GO_ON,
    }


def test_a_script_plays_the_same_twice(written: Written) -> None:
    """Times are those of the reports: at any speed the same script and seed write the same."""
    script = written("- {at: 10s, scenario: mixed}\n- {at: 20s, fault: [nulls, garbage], for: 1m}")
    flags = ("simulate", "--script", script, "--reports", "9", *SMALL)
    slow, fast = run(*flags, "--speed", "500"), run(*flags, "--speed", "0")
    assert slow == fast
    assert slow.status == 0
    assert slow != run(*flags, "--speed", "0", "--seed", "1")


def test_the_script_of_the_readme_is_played(written: Written) -> None:
    """README's example is a script, and ends in the crash that it announces."""
    steps = load(written(readme.block("yaml", "{at: ")))
    assert len(steps) >= 4
    script = written(readme.block("yaml", "{at: "))
    finished = run("simulate", "--speed", "0", "--script", script, *SMALL)
    assert (finished.status, finished.err) == (1, "simulated crash\n")


def test_the_readme_names_every_scenario_and_fault() -> None:
    """The tables of README are those of the simulator, word by word."""
    scenarios = {row[0].strip("`"): row[1] for row in readme.table("what goes on")}
    assert scenarios == {name: row.help for name, row in SCENARIOS.items()}
    told = {row[0].strip("`"): row[1:] for row in readme.table("what goes wrong")}
    assert told == {name: [row.help, row.when.value] for name, row in FAULTS.items()}


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
        ("- at: 1s\n  at: 2s", ":2: at: must be given once"),
        ("- {fault: hang}", ":1: at: is missing: every step has its time, such as 30s"),
        ("- {at: 1s}", ":1: a step must have a scenario, runtimes or a fault: nothing changes"),
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
            ":3: at: must not be before 1s, as above (got '500ms')",
        ),
        (
            "- at: 1s\n  scenario: trainig",
            f":2: scenario: must be one of {SCENARIO_NAMES} (got 'trainig')",
        ),
        (
            "- at: 1s\n  fault:\n  - hang\n  - boom",
            f":4: fault: must be one of {FAULT_NAMES} (got 'boom')",
        ),
        ("- {at: 1s, fault: []}", f":1: fault: must be of {FAULT_NAMES} (got [])"),
        ("- {at: 1s, fault: {}}", f":1: fault: must be one of {FAULT_NAMES} (got a mapping)"),
        (
            "- {at: 1s, runtimes: 1025}",
            ":1: runtimes: must be a number from 0 to 1024 (got '1025')",
        ),
        ("- {at: 1s, runtimes: -1}", ":1: runtimes: must be a number from 0 to 1024 (got '-1')"),
        ("- {at: 1s, runtimes: x}", ":1: runtimes: must be a number from 0 to 1024 (got 'x')"),
        (
            "- {at: 1s, runtimes: 3, for: 1s}",
            ":1: for: must stand beside a fault, which ends then",
        ),
        ("- {at: 1s, fault: crash, for: 1s}", ":1: for: crash happens once; must be with garbage,"),
        ("- {at: 1s", ":1: is not YAML: "),
        ("- a: b: c", ":1: is not YAML: "),
        (b"- \xff", ": is not YAML: "),
        ("- \x00", ": is not YAML: "),
        ("[" * 600, ": is not YAML: "),
    ],
)
def test_a_wrong_script_is_named(
    written: Written, capsys: pytest.CaptureFixture[str], text: str | bytes, message: str
) -> None:
    """A script that cannot be played is one line with its place, what stands there, and what is
    allowed; nothing is written, and the status is 2."""
    path = written(text)
    with pytest.raises(SystemExit) as ended:
        parse(["--script", path])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    last = err.splitlines()[-1]
    prefix = f"neuron-exporter simulate: error: argument --script: {path}"
    assert last.startswith(prefix + message)


def test_a_missing_script_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is told with the system's reason."""
    with pytest.raises(SystemExit):
        parse(["--script", "/nowhere/script.yaml"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(
        "--script: /nowhere/script.yaml: cannot be read: No such file or directory"
    )
