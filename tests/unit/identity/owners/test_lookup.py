"""Owner lookups: which providers are queried, and when."""

from __future__ import annotations

import threading
from dataclasses import fields

import pytest
from structlog.testing import capture_logs

from neuron_exporter.identity.owners.lookup import (
    REFRESH_INTERVAL,
    OwnerLookup,
    OwnersResult,
    merge,
)
from neuron_exporter.model import Allocation, Owner, Owners, Task
from tests.support.owner_providers import RED, FakeProvider, all_red
from tests.support.waiting import wait_for

BLUE = Owner(container="blue")


def test_stop_between_two_rounds_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = FakeProvider(all_red)
    lookup = OwnerLookup([provider])

    class Stopping(threading.Event):
        def clear(self) -> None:
            lookup.stop()
            super().clear()

    monkeypatch.setattr(lookup, "_changed", Stopping())
    lookup.start()
    wait_for(lambda: not lookup._thread.is_alive())
    assert provider.queries == []


class FastEvent(threading.Event):
    """An event that records timeouts and waits only a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Record the timeout and wait for a moment."""
        self.waited.append(timeout or 0.0)
        return super().wait(0.001)


def test_pauses() -> None:
    """Pauses double up to ten seconds; a new process resets them."""
    provider = FakeProvider(all_red)
    lookup = OwnerLookup([provider])
    lookup._changed = event = FastEvent()
    lookup._stopping = FastEvent()
    lookup.start()
    wait_for(lambda: len(event.waited) > 6)
    lookup.observe(frozenset({7}), frozenset())
    wait_for(lambda: frozenset({7}) in provider.queries)
    before = len(event.waited)
    wait_for(lambda: len(event.waited) > before + 3)
    lookup.stop()
    assert event.waited[:6] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert 1.0 in event.waited[6:]


def test_unchanged_owners_are_same_object() -> None:
    provider = FakeProvider(all_red)
    lookup = OwnerLookup([provider])
    lookup._run_round(frozenset({1}))
    first = lookup.owners()
    lookup._run_round(frozenset({1}))
    assert lookup.owners() is first


def test_merge_precedence() -> None:
    task = Task(RED, frozenset({0}))
    merged = merge([Owners({0: RED}, {1: RED}), Owners({0: BLUE, 1: BLUE}, {2: BLUE}, task=task)])
    assert merged.by_core == {0: RED, 1: BLUE}
    assert merged.by_pid == {1: RED, 2: BLUE}
    assert merged.task is task
    assert merged.lookup_enabled


def test_merge_keeps_all_that_one_provider_knows() -> None:
    """`default` and `allocated_cores` are not from providers: they follow from the reports."""
    known = Owners(
        by_core={0: RED},
        by_pid={1: RED},
        by_device={2: RED},
        task=Task(RED, frozenset({0})),
        allocation=Allocation({0: RED}, {1: BLUE}, highest_core=7, is_complete=False),
        process_labels={1: (("job_id", "7"),)},
        lookup_enabled=True,
    )
    unset = {each.name for each in fields(Owners) if getattr(known, each.name) == each.default}
    assert unset == {"default", "allocated_cores"}
    assert merge([Owners(), known, Owners()]) == known


def test_status_is_logged_on_change() -> None:
    answers = iter(["no agent", "no agent", ""])
    lookup = OwnerLookup([FakeProvider(lambda _: OwnersResult(error=next(answers)))])
    assert lookup.status() == {"fake": "pending"}
    with capture_logs() as logs:
        for _ in range(3):
            lookup._run_round(frozenset())
    assert [(each["log_level"], each["result"]) for each in logs] == [
        ("warning", "no agent"),
        ("info", "answered"),
    ]
    assert lookup.status() == {"fake": "answered"}


def test_provider_exception() -> None:
    def fail(_: frozenset[int]) -> OwnersResult:
        raise RuntimeError("boom")

    bad, good = FakeProvider(fail), FakeProvider(all_red)
    bad.name = "another"
    lookup = OwnerLookup([bad, good])
    lookup._run_round(frozenset({1}))
    assert lookup.owners().by_pid == {1: RED}
    assert "boom" in lookup.status()["another"]


def test_new_core_starts_round() -> None:
    """A core that is busy now and then starts a round only once."""
    provider = FakeProvider(all_red)
    lookup = OwnerLookup([provider])
    for cores, starts_round in (
        ((0,), True),
        ((0,), False),
        ((), False),
        ((0,), False),
        ((1,), True),
    ):
        lookup._changed.clear()
        lookup.observe(frozenset(), frozenset(cores))
        assert lookup._changed.is_set() is starts_round


def test_owners_expire() -> None:
    """Without a successful round for three intervals, owners are unknown again."""
    now = [0.0]
    lookup = OwnerLookup([FakeProvider(all_red)], clock=lambda: now[0])
    assert lookup.owners() == Owners(lookup_enabled=True)
    lookup._run_round(frozenset({1}))
    now[0] += 3 * REFRESH_INTERVAL - 1
    assert lookup.owners().by_pid == {1: RED}
    now[0] += 1
    assert lookup.owners() == Owners(lookup_enabled=True)


class FailingLabelProvider:
    """A label provider that raises an exception."""

    name = "labels"

    def add_labels(self, owners: Owners) -> tuple[Owners, str]:
        """Raise an exception."""
        raise RecursionError("deep")


def test_label_provider_exception() -> None:
    lookup = OwnerLookup([FakeProvider(all_red)], FailingLabelProvider())
    lookup._run_round(frozenset({1}))
    assert lookup.owners().by_pid == {1: RED}
    assert "deep" in lookup.status()["labels"]


def test_process_labels_that_raise() -> None:
    """Their processes have no answer, which is not the same as no provider."""

    def fail(_: frozenset[int]) -> OwnersResult:
        raise RuntimeError("boom")

    lookup = OwnerLookup([], process_labels=FakeProvider(fail))
    lookup._run_round(frozenset({7}))
    assert lookup.owners().process_labels == {}


def test_process_that_was_missing_is_looked_up_again() -> None:
    """Another process may have its pid: the labels of the first are dropped at once."""
    jobs = iter("12")

    def label(pids: frozenset[int]) -> OwnersResult:
        job = (("job_id", next(jobs)),)
        return OwnersResult(Owners(process_labels=dict.fromkeys(pids, job)))

    lookup = OwnerLookup([], process_labels=FakeProvider(label))
    assert lookup.owners() == Owners(process_labels={})
    for _ in range(2):
        lookup.observe(frozenset({7}), frozenset())
        assert lookup.owners().process_labels == {}
        lookup._run_round(frozenset(lookup._pids), lookup._pids)
        found = lookup.owners()
        lookup.observe(frozenset({7, 8}), frozenset())
        assert lookup.owners() is found
        lookup.observe(frozenset({8}), frozenset())
        assert lookup.owners().process_labels == {}
    assert found.process_labels == {7: (("job_id", "2"),)}
