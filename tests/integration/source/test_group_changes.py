"""neuron-monitor is started again when other groups are wanted, and only then."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import pytest

from neuron_exporter.model import Group
from neuron_exporter.source import NeuronMonitorSource, neuron_monitor
from neuron_exporter.source.child import Backoff
from neuron_exporter.source.neuron_monitor import configuration
from tests.support.children import child
from tests.support.listening import Recorder, running
from tests.support.processes import children_of
from tests.support.waiting import wait_for

HEALTHY = 'print={"p": 0.01}'


def source(command: Sequence[str], backoff: float = 0.02) -> NeuronMonitorSource:
    """A source that asks this command for all groups, and starts it again so soon."""
    return NeuronMonitorSource(command, Group, 0.01, 2**20, backoff=Backoff(backoff, backoff))


def test_other_groups_start_another_child_after_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that was asked for less is ended once, right after a report, and without a delay;
    the next is asked for the new groups."""
    monkeypatch.setattr(neuron_monitor, "_LAST_REPORT_PATIENCE", 60.0)
    heard = Recorder()
    asked = source(child("configuration", "sleep=0.2", "again"), backoff=60)
    with running(asked, heard):
        wait_for(lambda: len(heard.lines) >= 2)
        asked.ask_for([Group.HW_COUNTERS])
        wanted = configuration([Group.HW_COUNTERS], 0.01)
        wait_for(lambda: wanted in [json.loads(line) for line in list(heard.lines)])
        seen = len(heard.lines)
        wait_for(lambda: len(heard.lines) >= seen + 4)
    documents = [json.loads(line) for line in heard.lines]
    assert [reason for reason, _ in heard.restarts] == ["reconfigured"]
    assert heard.restarts[0][1] == 0
    assert heard.states == []
    before = configuration(Group, 0.01)
    change = documents.index(wanted)
    assert documents == [before] * change + [wanted] * (len(documents) - change)
    assert change >= 3


def test_the_same_groups_leave_the_child_alone() -> None:
    """Asking for what was asked for already, or changing one's mind in time, restarts nothing."""
    heard = Recorder()
    asked = source(child(HEALTHY, "sleep=0.1", "again"))
    others = set(children_of(os.getpid()))
    with running(asked, heard):
        wait_for(lambda: heard.lines)
        (pid,) = set(children_of(os.getpid())) - others
        asked.ask_for([Group.MEMORY_USED])
        asked.ask_for(reversed(Group))
        seen = len(heard.lines)
        wait_for(lambda: len(heard.lines) > seen + 5)
        assert set(children_of(os.getpid())) - others == {pid}
    assert heard.restarts == []


def test_a_silent_child_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child without reports is ended for other groups as well, after a bounded time."""
    monkeypatch.setattr(neuron_monitor, "_LAST_REPORT_PATIENCE", 0.1)
    monkeypatch.setattr(neuron_monitor, "_TICK", 0.05)
    heard = Recorder()
    asked = source(child("configuration", "forever"))
    with running(asked, heard):
        wait_for(lambda: heard.lines)
        asked.ask_for([Group.MEMORY_USED])
        wait_for(lambda: len(heard.lines) == 2)
    assert json.loads(heard.lines[1]) == configuration([Group.MEMORY_USED], 0.01)


def test_a_child_that_is_waited_for_is_asked_for_the_new_groups() -> None:
    """Between two children there is nothing to end, and the next one knows."""
    heard = Recorder()
    asked = source(child("configuration", "exit=1"), backoff=0.2)
    with running(asked, heard):
        wait_for(lambda: heard.restarts)
        asked.ask_for([Group.MEMORY_USED])
        wanted = configuration([Group.MEMORY_USED], 0.01)
        wait_for(lambda: wanted in [json.loads(line) for line in list(heard.lines)])
    assert {reason for reason, _ in heard.restarts} == {"exited"}
