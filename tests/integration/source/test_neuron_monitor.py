"""Supervision of neuron-monitor: configuration, failures, restarts and stops."""

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
from neuron_exporter.source.environment import TOOLS_DIRECTORY
from neuron_exporter.source.neuron_monitor import (
    RUNTIME_GROUPS,
    SYSTEM_GROUPS,
    configuration,
)
from neuron_exporter.source.watchdog import Watchdog
from tests.support.children import child, script
from tests.support.processes import alive, children_of, threads
from tests.support.source_thread import RecordingListener, record_waits, running_source
from tests.support.waiting import wait_for

MIB = 2**20
HEALTHY = 'print={"p": 0.01}'


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Check that no process and no thread is left."""
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) == before
    assert threads("stderr", "reader") == []


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts and ticks of the source."""
    watchdog = functools.partial(Watchdog, silence_timeout=0.3, start_timeout=0.3)
    monkeypatch.setattr(neuron_monitor, "Watchdog", watchdog)
    monkeypatch.setattr(neuron_monitor, "_TICK", 0.05)
    monkeypatch.setattr(neuron_monitor, "_MAX_WAIT", 0.05)


def make_source(*command: str | Path, backoff: Backoff | None = None) -> NeuronMonitorSource:
    """Return a source that runs this command, with short restart delays."""
    return NeuronMonitorSource(
        [str(word) for word in command], Group, 0.01, MIB, backoff=backoff or Backoff(0.02, 0.02)
    )


# Configuration


@pytest.mark.parametrize(
    "groups",
    [
        set(Group),
        {Group.NEURONCORE_COUNTERS},
        {Group.MEMORY_INFO, Group.HW_COUNTERS},
        {Group.EXECUTION_STATS, Group.VCPU_USAGE},
        set(),
    ],
    ids=lambda value: f"{len(value)} groups",
)
@pytest.mark.parametrize("period", [1.0, 5.0, 90.0])
def test_configured_groups(tmp_path: Path, groups: set[Group], period: float) -> None:
    """The configuration contains exactly the requested groups, all at one period."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text(json.dumps(configuration(groups, period)))

    assert parse(["-c", str(path)]).periods == dict.fromkeys(groups, int(period))


def test_configuration_format() -> None:
    """The configuration has the documented format."""
    assert configuration([Group.MEMORY_USED, Group.HW_COUNTERS], 5.0) == {
        "period": "5s",
        "neuron_runtimes": [{"tag_filter": ".*", "metrics": [{"type": "memory_used"}]}],
        "system_metrics": [{"type": "neuron_hw_counters"}],
    }
    assert "neuron_runtimes" not in configuration([Group.HW_COUNTERS], 5.0)


def test_every_group_is_configurable() -> None:
    assert {*RUNTIME_GROUPS, *SYSTEM_GROUPS} == set(Group)


def test_each_child_has_a_new_file() -> None:
    """A deleted configuration file does not affect the next child."""
    listener = RecordingListener()
    source = make_source(*child("configuration", "lose-configuration", "exit=0"))
    with running_source(source, listener):
        wait_for(lambda: len(listener.lines) == 3)

    expected = configuration(Group, 0.01)
    assert [json.loads(line) for line in listener.lines[:3]] == [expected] * 3


def test_configuration_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    listener = RecordingListener()
    with running_source(make_source(*child(HEALTHY, "forever")), listener):
        wait_for(lambda: listener.lines)
        assert len(list(tmp_path.iterdir())) == 1

    assert list(tmp_path.iterdir()) == []


# Failures

EXITED, STALLED, GARBAGE = SourceState.EXITED, SourceState.STALLED, SourceState.GARBAGE


@pytest.mark.usefixtures("short_timeouts")
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
            "exited with status 1; last stderr line: no driver",
        ),
        (["print=usage: -c", "exit=2"], EXITED, "exited", "exited with status 2"),
        ([HEALTHY, "close", "forever"], EXITED, "end_of_file", "closed its output"),
        (["grandchild", "exit=4"], EXITED, "exited", "exited with status 4"),
        (["forever"], STALLED, "stalled", "printed no report in time"),
        ([HEALTHY, "forever"], STALLED, "stalled", "printed no report in time"),
        ([HEALTHY, "half-report", "forever"], STALLED, "stalled", "printed no report in time"),
        (
            ["binary", "sleep=0.02", "again"],
            GARBAGE,
            "garbage",
            "prints lines that are not reports",
        ),
        (["endless-line=5000000", "forever"], GARBAGE, "garbage", "prints lines that are not"),
        (["long-line=5000000", "forever"], GARBAGE, "garbage", "prints lines that are not reports"),
        (
            [HEALTHY, "print=hello", "stderr=sick", "forever"],
            GARBAGE,
            "garbage",
            "prints lines that are not reports; last stderr line: sick",
        ),
    ],
    ids=lambda value: None if not isinstance(value, list) else ",".join(value)[:40],
)
def test_failures(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    state: SourceState,
    reason: str,
    detail: str,
) -> None:
    """Each failure has a state, a reason and a description, and is followed by a restart."""
    if state is EXITED:  # however long the child takes to start and to end
        monkeypatch.setattr(neuron_monitor, "Watchdog", Watchdog)
    listener = RecordingListener()
    command = child(*steps)
    name = Path(command[0]).name
    with running_source(make_source(*command), listener) as run:
        wait_for(lambda: [each for each, _ in listener.restarts].count(reason) >= 2)
        run.end()

    assert any(
        each is state and text.startswith(f"{name} {detail}") for each, text in listener.states
    )
    # On a busy machine, a child may stall before it prints its garbage.
    assert {each for each, _ in listener.restarts} <= {reason, "stalled"}


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("steps", [["forever"], [HEALTHY, "forever"]], ids=["at start", "later"])
def test_silence_between_ticks(monkeypatch: pytest.MonkeyPatch, steps: list[str]) -> None:
    """A silent child is restarted when that is due, not at the next tick."""
    monkeypatch.setattr(neuron_monitor, "_MAX_WAIT", 3600)
    listener = RecordingListener()
    with running_source(make_source(*child(*steps)), listener):
        wait_for(lambda: [reason for reason, _ in listener.restarts] == ["stalled"] * 2)


def test_child_that_ends_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is noticed although reports keep arriving from a process that it started."""
    monkeypatch.setattr(neuron_monitor, "_MAX_WAIT", 0.5)
    writer = """while echo '{"p": 0.01}'; do sleep 0.02; done"""
    program = script(tmp_path / "program", f"({writer}) &\nexit 3")
    listener = RecordingListener()
    with running_source(make_source(program), listener):
        wait_for(lambda: [reason for reason, _ in listener.restarts] == ["exited"] * 2)
    assert (SourceState.EXITED, "program exited with status 3") in listener.states


@pytest.mark.usefixtures("short_timeouts")
def test_other_lines_between_reports() -> None:
    """Lines that are not reports do not cause a restart while reports arrive."""
    listener = RecordingListener()
    with running_source(
        make_source(*child(HEALTHY, "print=hello", "sleep=0.02", "again")), listener
    ):
        wait_for(lambda: len(listener.lines) > 30)

    assert listener.restarts == []


@pytest.mark.parametrize("place", ["on PATH", "by its path"])
def test_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A missing program is searched again after each delay."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "some-monitor"
    listener = RecordingListener()
    with running_source(make_source("some-monitor" if place == "on PATH" else path), listener):
        wait_for(lambda: len(listener.restarts) > 2)
        assert listener.lines == []
        script(path, f'exec {shlex.join(child("print={}", "forever"))} "$@"')
        wait_for(lambda: listener.lines == [b"{}"])

    state, detail = listener.states[0]
    assert state is SourceState.MISSING_PROGRAM
    advice = (
        "install aws-neuronx-tools or set source.command; "
        "`neuron-exporter doctor` checks this machine"
    )
    if place == "on PATH":
        where = f" in {tmp_path}:/usr/bin:/bin:{TOOLS_DIRECTORY}"
        assert detail == f"some-monitor: no such program{where}; {advice}"
    else:
        assert detail == f"{path}: no such program; {advice}"
    assert {reason for reason, _ in listener.restarts} == {"missing_program"}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("#!/bin/sh\n"), "Permission denied"),
        (lambda path: path.mkdir(), "Permission denied"),
        (lambda path: script(path, "").write_text("text\n"), "Exec format error"),
    ],
    ids=["not executable", "folder", "no program"],
)
def test_program_that_cannot_start(tmp_path: Path, make: Any, reason: str) -> None:
    """A file that cannot be executed is a failed start, not a missing program."""
    path = tmp_path / "monitor"
    make(path)
    listener = RecordingListener()
    with running_source(make_source(path), listener):
        wait_for(lambda: len(listener.restarts) > 2)

    assert listener.states[0] == (EXITED, f"{path}: {reason}")
    assert {each for each, _ in listener.restarts} == {"spawn_error"}


def test_configuration_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source retries until it can write the configuration."""
    folder = tmp_path / "later"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    listener = RecordingListener()
    with running_source(make_source(*child(HEALTHY, "forever")), listener):
        wait_for(lambda: len(listener.restarts) > 2)
        folder.mkdir()
        wait_for(lambda: listener.lines)

    assert listener.states[0] == (
        EXITED,
        "cannot write the configuration file: No such file or directory",
    )


def test_unkillable_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source reports STALLED, ticks, and starts no second child."""
    released = False

    def stop(self: Child, timeout: float) -> int | None:
        return original_stop(self, timeout) if released else None

    original_stop = Child.stop
    monkeypatch.setattr(Child, "stop", stop)
    monkeypatch.setattr(neuron_monitor, "_TICK", 0.05)
    listener = RecordingListener()
    with running_source(make_source(*child("facts", "exit=0")), listener):
        wait_for(lambda: len(listener.states) > 3)
        assert len(listener.lines) == 1
        state, detail = listener.states[-1]
        assert state is STALLED
        assert detail.endswith("does not end, even when killed")
        ticks = len(listener.ticks)
        wait_for(lambda: len(listener.ticks) > ticks + 3)

        released = True
        wait_for(lambda: len(listener.lines) > 1)


# Delays


class MaxRandom(random.Random):
    """Generator of the largest number of each range."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper bound."""
        return max(a, b)


def test_restart_delays(tmp_path: Path) -> None:
    """Delays double until a report arrives; other lines do not reset them."""
    path = script(
        tmp_path / "monitor",
        f"""echo x >>{tmp_path}/starts
        [ $(wc -l <{tmp_path}/starts) = 4 ] && echo '{{"p": 0.01}}' || echo hello
        exit 1""",
    )
    listener = RecordingListener()
    with running_source(make_source(path, backoff=Backoff(0.01, 10, MaxRandom())), listener):
        wait_for(lambda: len(listener.restarts) >= 6)

    delays = [delay for _, delay in listener.restarts[:6]]
    assert delays == pytest.approx([0.01, 0.02, 0.04, 0.01, 0.02, 0.04])


# Stops


def test_stop_during_a_restart_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delay of ten minutes does not defer a stop, and the source ticks meanwhile."""
    waits = record_waits(monkeypatch)
    listener = RecordingListener()
    source = make_source(tmp_path / "nothing", backoff=Backoff(600, 600))
    with running_source(source, listener) as run:
        wait_for(lambda: len(listener.ticks) >= 2)
        run.end()

    assert max(waits) <= 2


@pytest.mark.parametrize(
    "steps",
    [
        [HEALTHY, "forever"],
        [HEALTHY, "again"],
        [HEALTHY, "half-report", "forever"],
        ["ignore", HEALTHY, "forever"],
    ],
    ids=["silent", "busy", "half", "ignoring SIGTERM"],
)
def test_stop_while_reading(steps: list[str]) -> None:
    """A stop ends the child, even one that ignores SIGTERM, and is not reported as a state."""
    listener, other_children = RecordingListener(), children_of(os.getpid())
    with running_source(make_source(*child(*steps)), listener) as run:
        wait_for(lambda: listener.lines)
        (pid,) = set(children_of(os.getpid())).difference(other_children)
        run.end()

    assert not alive(pid)
    assert listener.states == []
    assert listener.restarts == []


def test_stop_before_start() -> None:
    """A source that is stopped before `run` starts no child."""
    listener = RecordingListener()
    source = make_source(*child(HEALTHY, "forever"))
    source.stop()
    source.stop()
    source.run(listener)

    assert listener.lines == []


def test_stop_during_a_start() -> None:
    """A stop at any moment of a start leaves no process behind."""
    other_children = children_of(os.getpid())
    for moment in range(12):
        listener = RecordingListener()
        with running_source(make_source(*child(HEALTHY, "forever")), listener) as run:
            time.sleep(moment * 0.006)
            run.end()
        assert children_of(os.getpid()) == other_children
