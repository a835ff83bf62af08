"""Who is asked whose cores are, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs

from neuron_exporter.identity.owners.resolver import REFRESH, OwnersFinder, Told, merge
from neuron_exporter.model import Owner, Owners, Task
from tests.support.waiting import wait_for

RED, BLUE = Owner(container="red"), Owner(container="blue")


class Place:
    """Somebody who is asked, and keeps for which processes."""

    name = "somebody"

    def __init__(self, answer: Callable[[frozenset[int]], Told]) -> None:
        self.asked: list[frozenset[int]] = []
        self._answer = answer

    def ask(self, pids: frozenset[int]) -> Told:
        """Answer as prepared."""
        self.asked.append(pids)
        return self._answer(pids)


@contextmanager
def finding(*places: Place) -> Iterator[OwnersFinder]:
    """A finder that runs."""
    finder = OwnersFinder(places)
    finder.start()
    try:
        yield finder
    finally:
        finder.stop()
        wait_for(lambda: all(t.name != "owners" for t in threading.enumerate()))


def everybody_is_red(pids: frozenset[int]) -> Told:
    """An answer that knows every process."""
    return Told(Owners(by_pid=dict.fromkeys(pids, RED)))


def test_a_process_not_seen_before_is_asked_for_at_once() -> None:
    """A report with a new process starts a round; the report does not wait for it."""
    place = Place(everybody_is_red)
    with finding(place) as finder:
        wait_for(lambda: place.asked)
        finder.see(frozenset({7}), frozenset())
        assert finder.owners().asked
        wait_for(lambda: finder.owners().by_pid == {7: RED}, seconds=3)


class Hurry(threading.Event):
    """Notes how long it should be waited for, and does not wait for so long."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a moment."""
        self.waited.append(timeout or 0.0)
        return super().wait(0.001)


def test_rounds_in_which_nothing_is_new_become_rare() -> None:
    """Pauses double up to ten seconds, and a new process makes the next ones short again."""
    place = Place(everybody_is_red)
    finder = OwnersFinder([place])
    finder._news = hurry = Hurry()
    finder._stopping = Hurry()
    finder.start()
    wait_for(lambda: len(hurry.waited) > 6)
    finder.see(frozenset({7}), frozenset())
    wait_for(lambda: frozenset({7}) in place.asked)
    before = len(hurry.waited)
    wait_for(lambda: len(hurry.waited) > before + 3)
    finder.stop()
    assert hurry.waited[:6] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert 1.0 in hurry.waited[6:]


def test_the_same_answer_is_the_same_object() -> None:
    """While nothing changes nothing that is made of owners is made again."""
    place = Place(everybody_is_red)
    finder = OwnersFinder([place])
    finder._ask_all(frozenset({1}))
    first = finder.owners()
    finder._ask_all(frozenset({1}))
    assert finder.owners() is first


def test_what_is_told_first_goes_before_what_is_told_later() -> None:
    """Places are in the order in which they are believed."""
    task = Task(RED, frozenset({0}))
    told = merge([Owners({0: RED}, {1: RED}), Owners({0: BLUE, 1: BLUE}, {2: BLUE}, task=task)])
    assert told.by_core == {0: RED, 1: BLUE}
    assert told.by_pid == {1: RED, 2: BLUE}
    assert told.task is task
    assert told.asked


def test_what_could_not_be_told_is_said_once() -> None:
    """The log and the page say why, and again only when it is something else."""
    answers = iter(["no agent", "no agent", ""])
    finder = OwnersFinder([Place(lambda _: Told(why=next(answers)))])
    assert finder.status() == {"somebody": "not asked yet"}
    with capture_logs() as said:
        for _ in range(3):
            finder._ask_all(frozenset())
    assert [(each["log_level"], each["answer"]) for each in said] == [
        ("warning", "no agent"),
        ("info", "answered"),
    ]
    assert finder.status() == {"somebody": "answered"}


def test_a_bug_in_one_place_costs_that_place() -> None:
    """Others are asked all the same, and the thread lives on."""

    def fail(_: frozenset[int]) -> Told:
        raise RuntimeError("boom")

    bad, good = Place(fail), Place(everybody_is_red)
    bad.name = "another"
    finder = OwnersFinder([bad, good])
    finder._ask_all(frozenset({1}))
    assert finder.owners().by_pid == {1: RED}
    assert "boom" in finder.status()["another"]


def test_a_core_not_held_before_starts_a_round() -> None:
    """Whoever takes a core in a process that is known, or without a process, is asked for at once;
    one that is busy now and then is no news each time."""
    place = Place(everybody_is_red)
    finder = OwnersFinder([place])
    for held, is_news in (((0,), True), ((0,), False), ((), False), ((0,), False), ((1,), True)):
        finder._news.clear()
        finder.see(frozenset(), frozenset(held))
        assert finder._news.is_set() is is_news


def test_owners_that_nobody_confirms_are_not_known() -> None:
    """Should the thread hang or die, nobody is named after three rounds; and nobody is at first."""
    now = [0.0]
    finder = OwnersFinder([Place(everybody_is_red)], clock=lambda: now[0])
    assert finder.owners() == Owners(asked=True)
    finder._ask_all(frozenset({1}))
    now[0] += 3 * REFRESH - 1
    assert finder.owners().by_pid == {1: RED}
    now[0] += 1
    assert finder.owners() == Owners(asked=True)


class Labels:
    """Somebody who knows more, and fails."""

    name = "labels"

    def add(self, owners: Owners) -> tuple[Owners, str]:
        """Fail."""
        raise RecursionError("deep")


def test_a_bug_in_labels_costs_labels() -> None:
    """Owners are named without them, and the reason is said."""
    finder = OwnersFinder([Place(everybody_is_red)], Labels())
    finder._ask_all(frozenset({1}))
    assert finder.owners().by_pid == {1: RED}
    assert "deep" in finder.status()["labels"]
