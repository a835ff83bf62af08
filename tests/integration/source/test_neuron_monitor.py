"""neuron-monitor is run, watched, and started again whatever ends it."""

from __future__ import annotations

import functools
import json
import os
import random
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.model import Group, SourceState
from neuron_exporter.simulator.options import parse
from neuron_exporter.source import NeuronMonitorSource, neuron_monitor
from neuron_exporter.source.child import Backoff, Child
from neuron_exporter.source.neuron_monitor import (
    RUNTIME_GROUPS,
    SYSTEM_GROUPS,
    TOOLS,
    configuration,
)
from neuron_exporter.source.watchdog import Watchdog
from tests.support.children import child, script
from tests.support.listening import Recorder, running
from tests.support.processes import alive, children_of, threads
from tests.support.waiting import wait_for

MIB = 2**20
HEALTHY = 'print={"p": 0.01}'


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No source leaves a process or a thread behind."""
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) == before
    assert threads("stderr", "reader") == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child is complained of after a fraction of a second."""
    quick = functools.partial(Watchdog, patience=0.3, grace=0.3)
    monkeypatch.setattr(neuron_monitor, "Watchdog", quick)
    monkeypatch.setattr(neuron_monitor, "_TICK", 0.05)


def source(*command: str | Path, backoff: Backoff | None = None) -> NeuronMonitorSource:
    """A source that runs this command, and again after a moment."""
    return NeuronMonitorSource(
        [str(word) for word in command], Group, 0.01, MIB, backoff=backoff or Backoff(0.02, 0.02)
    )


# The configuration


@pytest.mark.parametrize(
    "wanted",
    [
        set(Group),
        {Group.NEURONCORE_COUNTERS},
        {Group.MEMORY_INFO, Group.HW_COUNTERS},
        {Group.EXECUTION_STATS, Group.VCPU_USAGE},
        set(),
    ],
    ids=lambda groups: f"{len(groups)} groups",
)
@pytest.mark.parametrize("period", [1.0, 5.0, 90.0])
def test_only_what_is_wanted_is_asked_for(
    tmp_path: Path, wanted: set[Group], period: float
) -> None:
    """The configuration asks for the wanted groups, each at the period, and for no other."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text(json.dumps(configuration(wanted, period)))

    assert parse(["-c", str(path)]).periods == dict.fromkeys(wanted, int(period))


def test_the_configuration_is_neuron_monitors() -> None:
    """It has the documented shape, and periods in whole seconds."""
    assert configuration([Group.MEMORY_USED, Group.HW_COUNTERS], 5.0) == {
        "period": "5s",
        "neuron_runtimes": [{"tag_filter": ".*", "metrics": [{"type": "memory_used"}]}],
        "system_metrics": [{"type": "neuron_hw_counters"}],
    }
    assert "neuron_runtimes" not in configuration([Group.HW_COUNTERS], 5.0)


def test_every_group_is_known_to_the_configuration() -> None:
    """A group that is added belongs to the runtimes or to the system."""
    assert {*RUNTIME_GROUPS, *SYSTEM_GROUPS} == set(Group)


def test_each_child_finds_its_configuration() -> None:
    """A cleaner of temporary files takes the configuration from one child, not from the next."""
    heard = Recorder()
    with running(source(*child("configuration", "lose-configuration", "exit=0")), heard):
        wait_for(lambda: len(heard.lines) == 3)

    expected = configuration(Group, 0.01)
    assert [json.loads(line) for line in heard.lines[:3]] == [expected] * 3


def test_no_configuration_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of temporary files is as empty after a source as before it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    heard = Recorder()
    with running(source(*child(HEALTHY, "forever")), heard):
        wait_for(lambda: heard.lines)
        assert len(list(tmp_path.iterdir())) == 1

    assert list(tmp_path.iterdir()) == []


# Ends

EXITED, STALLED, GARBAGE = SourceState.EXITED, SourceState.STALLED, SourceState.GARBAGE


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("steps", "state", "reason", "detail"),
    [
        (["exit=3"], EXITED, "exited", "exited with status 3"),
        ([HEALTHY, "exit=0"], EXITED, "exited", "exited with status 0"),
        ([HEALTHY, "kill=11"], EXITED, "exited", "was ended by signal 11"),
        (
            ["stderr=no driver", "exit=1"],
            EXITED,
            "exited",
            "exited with status 1; its last words: no driver",
        ),
        (["print=usage: -c", "exit=2"], EXITED, "exited", "exited with status 2"),
        ([HEALTHY, "close", "forever"], EXITED, "end_of_file", "closed its output"),
        (["grandchild", "exit=4"], EXITED, "exited", "exited with status 4"),
        (["forever"], STALLED, "stalled", "was silent for too long"),
        ([HEALTHY, "forever"], STALLED, "stalled", "was silent for too long"),
        ([HEALTHY, "half-report", "forever"], STALLED, "stalled", "was silent for too long"),
        (["binary", "sleep=0.02", "again"], GARBAGE, "garbage", "prints lines that are no reports"),
        (["endless-line=5000000", "forever"], GARBAGE, "garbage", "prints lines that are no"),
        (["long-line=5000000", "forever"], GARBAGE, "garbage", "prints lines that are no reports"),
        (
            [HEALTHY, "print=hello", "stderr=sick", "forever"],
            GARBAGE,
            "garbage",
            "prints lines that are no reports; its last words: sick",
        ),
    ],
    ids=lambda value: None if not isinstance(value, list) else ",".join(value)[:40],
)
def test_every_end_is_told_and_followed_by_another_start(
    steps: list[str], state: SourceState, reason: str, detail: str
) -> None:
    """Whatever ends a child has a state, a reason for the counter, and a sentence for people."""
    heard = Recorder()
    command = child(*steps)
    name = Path(command[0]).name
    with running(source(*command), heard) as run:
        wait_for(lambda: len(heard.restarts) >= 2)
        run.end()

    assert heard.states[0][0] is state
    assert heard.states[0][1].startswith(f"{name} {detail}")
    assert [told for told, _ in heard.restarts[:2]] == [reason] * 2


@pytest.mark.usefixtures("impatient")
def test_noise_between_reports_ends_nothing() -> None:
    """A child that prints reports and other lines, too, is left alone."""
    heard = Recorder()
    with running(source(*child(HEALTHY, "print=hello", "sleep=0.02", "again")), heard):
        wait_for(lambda: len(heard.lines) > 30)

    assert heard.restarts == []


@pytest.mark.parametrize("place", ["on PATH", "by its path"])
def test_a_missing_program_is_found_when_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A program that is not there is a state that is tried again, not an error."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "some-monitor"
    heard = Recorder()
    with running(source("some-monitor" if place == "on PATH" else path), heard):
        wait_for(lambda: len(heard.restarts) > 2)
        assert heard.lines == []
        script(path, f'exec {shlex.join(child("print={}", "forever"))} "$@"')
        wait_for(lambda: heard.lines == [b"{}"])

    state, detail = heard.states[0]
    assert state is SourceState.MISSING_PROGRAM
    if place == "on PATH":
        assert detail == f"some-monitor: no such program in {tmp_path}:/usr/bin:/bin:{TOOLS}"
    else:
        assert detail == f"{path}: no such program"
    assert {reason for reason, _ in heard.restarts} == {"missing_program"}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("#!/bin/sh\n"), "Permission denied"),
        (lambda path: path.mkdir(), "Permission denied"),
        (lambda path: script(path, "").write_text("text\n"), "Exec format error"),
    ],
    ids=["not executable", "folder", "no program"],
)
def test_a_program_that_cannot_start_is_tried_again(tmp_path: Path, make: Any, reason: str) -> None:
    """What is there and cannot be started is not called missing."""
    path = tmp_path / "monitor"
    make(path)
    heard = Recorder()
    with running(source(path), heard):
        wait_for(lambda: len(heard.restarts) > 2)

    assert heard.states[0] == (EXITED, f"{path}: {reason}")
    assert {told for told, _ in heard.restarts} == {"spawn_error"}


def test_a_full_disk_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that cannot be written ends nothing, and is written when it can be."""
    folder = tmp_path / "later"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    heard = Recorder()
    with running(source(*child(HEALTHY, "forever")), heard):
        wait_for(lambda: len(heard.restarts) > 2)
        folder.mkdir()
        wait_for(lambda: heard.lines)

    assert heard.states[0] == (
        EXITED,
        "its configuration cannot be written: No such file or directory",
    )


def test_a_child_that_cannot_be_killed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a driver holds a child we are alive, say so, start no second one, and can stop."""
    released = False

    def hold(self: Child, patience: float) -> int | None:
        return end(self, patience) if released else None

    end = Child.stop
    monkeypatch.setattr(Child, "stop", hold)
    monkeypatch.setattr(neuron_monitor, "_TICK", 0.05)
    heard = Recorder()
    with running(source(*child("facts", "exit=0")), heard):
        wait_for(lambda: len(heard.states) > 3)
        assert len(heard.lines) == 1
        state, detail = heard.states[-1]
        assert state is STALLED
        assert detail.endswith("does not end, even when killed")
        ticks = len(heard.ticks)
        wait_for(lambda: len(heard.ticks) > ticks + 3)

        released = True
        wait_for(lambda: len(heard.lines) > 1)


# Delays


class Longest(random.Random):
    """Chooses the largest number, always."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return max(a, b)


def test_only_a_report_makes_the_next_start_soon(tmp_path: Path) -> None:
    """Delays double while children fail, lines that are no reports or not; a report ends that."""
    path = script(
        tmp_path / "monitor",
        f"""echo x >>{tmp_path}/lives
        [ $(wc -l <{tmp_path}/lives) = 4 ] && echo '{{"p": 0.01}}' || echo hello
        exit 1""",
    )
    heard = Recorder()
    with running(source(path, backoff=Backoff(0.01, 10, Longest())), heard):
        wait_for(lambda: len(heard.restarts) >= 6)

    delays = [delay for _, delay in heard.restarts[:6]]
    assert delays == pytest.approx([0.01, 0.02, 0.04, 0.01, 0.02, 0.04])


# Stopping


def test_stop_ends_a_wait_between_lives(tmp_path: Path) -> None:
    """A delay of a minute is no reason to stop late, and we are seen alive meanwhile."""
    heard = Recorder()
    with running(source(tmp_path / "nothing", backoff=Backoff(60, 60)), heard) as run:
        wait_for(lambda: len(heard.ticks) >= 2)
        assert run.end() < 1

    assert heard.longest_silence() < 2


@pytest.mark.parametrize(
    ("steps", "longest"),
    [
        ([HEALTHY, "forever"], 1.0),
        ([HEALTHY, "again"], 1.0),
        ([HEALTHY, "half-report", "forever"], 1.0),
        (["ignore", HEALTHY, "forever"], 2.5),
    ],
    ids=["silent", "busy", "half", "stubborn"],
)
def test_stop_ends_a_read(steps: list[str], longest: float) -> None:
    """Stop ends the child, stubborn or not, and tells no state: it was we who ended it."""
    heard, others = Recorder(), children_of(os.getpid())
    with running(source(*child(*steps)), heard) as run:
        wait_for(lambda: heard.lines)
        (pid,) = set(children_of(os.getpid())).difference(others)

        assert run.end() < longest

    assert not alive(pid)
    assert heard.states == []
    assert heard.restarts == []


def test_a_source_that_was_stopped_before_starts_nothing() -> None:
    """A stop that comes before the start is not forgotten, and may come twice."""
    heard = Recorder()
    made = source(*child(HEALTHY, "forever"))
    made.stop()
    made.stop()
    made.run(heard)

    assert heard.lines == []


def test_stop_at_any_moment_of_a_start_leaves_nothing() -> None:
    """A stop while the child is being started ends it as well."""
    others = children_of(os.getpid())
    for moment in range(12):
        heard = Recorder()
        with running(source(*child(HEALTHY, "forever")), heard) as run:
            time.sleep(moment * 0.006)
            assert run.end() < 2
        assert children_of(os.getpid()) == others
