"""Restart of neuron-monitor when the requested groups change."""

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
from tests.support.processes import children_of
from tests.support.source_thread import RecordingListener, running_source
from tests.support.waiting import wait_for

HEALTHY = 'print={"p": 0.01}'


def make_source(command: Sequence[str], backoff: float = 0.02) -> NeuronMonitorSource:
    """Return a source that runs this command with all groups."""
    return NeuronMonitorSource(command, Group, 0.01, 2**20, backoff=Backoff(backoff, backoff))


def test_changed_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is replaced once, right after a report and without a delay."""
    monkeypatch.setattr(neuron_monitor, "_LAST_REPORT_TIMEOUT", 60.0)
    listener = RecordingListener()
    source = make_source(child("configuration", "sleep=0.2", "again"), backoff=60)
    with running_source(source, listener):
        wait_for(lambda: len(listener.lines) >= 2)
        source.request_groups([Group.HW_COUNTERS])
        expected = configuration([Group.HW_COUNTERS], 0.01)
        wait_for(lambda: expected in [json.loads(line) for line in list(listener.lines)])
        count = len(listener.lines)
        wait_for(lambda: len(listener.lines) >= count + 4)
    documents = [json.loads(line) for line in listener.lines]
    assert [reason for reason, _ in listener.restarts] == ["reconfigured"]
    assert listener.restarts[0][1] == 0
    assert listener.states == []
    before = configuration(Group, 0.01)
    change = documents.index(expected)
    assert documents == [before] * change + [expected] * (len(documents) - change)
    assert change >= 3


def test_unchanged_groups() -> None:
    """The child keeps running if the groups are the same, or are changed back in time."""
    listener = RecordingListener()
    source = make_source(child(HEALTHY, "sleep=0.1", "again"))
    others = set(children_of(os.getpid()))
    with running_source(source, listener):
        wait_for(lambda: listener.lines)
        (pid,) = set(children_of(os.getpid())) - others
        source.request_groups([Group.MEMORY_USED])
        source.request_groups(reversed(Group))
        count = len(listener.lines)
        wait_for(lambda: len(listener.lines) > count + 5)
        assert set(children_of(os.getpid())) - others == {pid}
    assert listener.restarts == []


def test_changed_groups_of_a_silent_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child without reports is replaced after a timeout, however long the ticks are."""
    monkeypatch.setattr(neuron_monitor, "_LAST_REPORT_TIMEOUT", 0.1)
    monkeypatch.setattr(neuron_monitor, "_MAX_WAIT", 3600)
    listener = RecordingListener()
    source = make_source(child("configuration", "forever"))
    with running_source(source, listener):
        wait_for(lambda: listener.lines)
        source.request_groups([Group.MEMORY_USED])
        wait_for(lambda: len(listener.lines) == 2)
    assert json.loads(listener.lines[1]) == configuration([Group.MEMORY_USED], 0.01)


def test_changed_groups_during_a_restart_delay() -> None:
    """The next child gets the new groups."""
    listener = RecordingListener()
    source = make_source(child("configuration", "exit=1"), backoff=0.2)
    with running_source(source, listener):
        wait_for(lambda: listener.restarts)
        source.request_groups([Group.MEMORY_USED])
        expected = configuration([Group.MEMORY_USED], 0.01)
        wait_for(lambda: expected in [json.loads(line) for line in list(listener.lines)])
    assert {reason for reason, _ in listener.restarts} == {"exited"}
