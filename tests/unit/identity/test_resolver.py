"""Who is asked for what is lacking, for how long, and whose word counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import load
from neuron_exporter.identity import dmi
from neuron_exporter.identity import resolver as finder
from neuron_exporter.identity.fields import Answer
from neuron_exporter.identity.machine import Identity, Step
from neuron_exporter.identity.resolver import LABELS_WAIT, SETS_WAIT, Finder, Source, Wants
from neuron_exporter.model import Machine, Moment
from neuron_exporter.pipeline import processor as intake
from neuron_exporter.pipeline.build import Pipeline, build
from tests.support.reports import report
from tests.support.waiting import wait_for

HERE = Machine(
    instance_id="i-0fedcba9876543210",
    instance_type="trn1.32xlarge",
    availability_zone="us-west-2b",
    region="us-west-2",
)
ID = frozenset({"instance_id"})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are repeated at once, and given up soon."""
    monkeypatch.setattr(finder, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(finder, "_LONGEST_PAUSE", 0.02)


class Asked:
    """A source that gives prepared answers, the last one for ever."""

    def __init__(self, step: Step, gives: Set[str], *answers: Answer | Exception) -> None:
        self.lacking: list[Set[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._answers = list(answers)
        self.source = Source(step, frozenset(gives), self._ask)

    def _ask(self, lacking: Set[str]) -> Answer:
        self.may_answer.wait(5)
        self.lacking.append(lacking)
        answer = self._answers[min(len(self.lacking), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Search:
    """A finder that runs until the test ends."""

    def __init__(self, identity: Identity, wants: Wants, *asked: Asked) -> None:
        self.age = 0.0
        self.identity = identity
        self.finder = Finder(identity, [each.source for each in asked], wants, lambda: self.age)

    @property
    def over(self) -> bool:
        """Whether nobody is asked any more."""
        return not self.finder._thread.is_alive()


@pytest.fixture
def search() -> Iterator[Callable[..., Search]]:
    """Start a search; it is stopped in the end."""
    started: list[Search] = []

    def start(*args: Any) -> Search:
        started.append(Search(*args))
        started[-1].finder.start()
        return started[-1]

    yield start
    for each in started:
        each.finder.stop()
        wait_for(lambda each=each: each.over)  # type: ignore[misc]


def test_it_asks_until_it_knows(search: Callable[..., Search]) -> None:
    """A service that comes up late is found, and then left alone."""
    late = Asked(Step.IMDS, ID, Answer(why="not yet"), Answer(why="not yet"), Answer(HERE))
    with capture_logs() as said:
        running = search(Identity(Machine(), {}), Wants(ID), late)
        wait_for(lambda: running.over)
    assert running.identity.machine() == HERE
    assert late.lacking == [ID] * 3
    events = [(each["event"], each.get("answer")) for each in said]
    assert events == [
        ("identity_asked", "not yet"),  # once, however often it is asked
        ("identity_asked", "answered"),
        ("identity_complete", None),
    ]


def test_who_cannot_know_is_not_asked(search: Callable[..., Search]) -> None:
    """A source is asked for its fields alone, and not for what one before it has told."""
    first = Asked(Step.IMDS, ID | {"region"}, Answer(HERE))
    second = Asked(Step.ECS, {"region", "cluster"}, Answer(Machine(cluster="c")))
    third = Asked(Step.ENVIRONMENT, {"node_name"}, Answer())
    wants = Wants(ID, (frozenset({"region", "cluster"}),))
    running = search(Identity(Machine(), {}), wants, first, second, third)
    wait_for(lambda: running.over)
    assert first.lacking == [ID | {"region"}]
    assert second.lacking == [{"cluster"}]
    assert third.lacking == []


def test_the_stream_may_tell_it_in_the_meantime(search: Callable[..., Search]) -> None:
    """What neuron-monitor has told by now is not asked for any longer."""
    deaf = Asked(Step.IMDS, ID, Answer(why="no answer"))
    running = search(Identity(Machine(), {}), Wants(ID), deaf)
    wait_for(lambda: deaf.lacking)
    running.identity.learn(Step.STREAM, HERE)
    wait_for(lambda: running.over)


@pytest.mark.parametrize("age", [LABELS_WAIT, SETS_WAIT])
def test_it_gives_up_loudly(search: Callable[..., Search], age: float) -> None:
    """After a minute without a sink that waits, after ten with one, the log says what is missing
    and what everybody said."""
    deaf = Asked(Step.IMDS, ID, Answer(why="no answer"))
    wants = Wants(ID) if age == LABELS_WAIT else Wants(ID, (ID,))
    with capture_logs() as said:
        running = search(Identity(Machine(), {}), wants, deaf)
        running.age = age - 1
        count = len(deaf.lacking)
        wait_for(lambda: len(deaf.lacking) > count + 1)
        running.age = age
        wait_for(lambda: running.over)
    assert said[-1] == {
        "event": "identity_incomplete",
        "log_level": "warning",
        "part": "identity",
        "missing": ["instance_id"],
        "imds": "no answer",
    }


def test_a_bug_in_a_source_ends_nothing(search: Callable[..., Search]) -> None:
    """What nobody foresaw is said, and the next source is asked."""
    broken = Asked(Step.IMDS, ID, ZeroDivisionError())
    good = Asked(Step.ECS, ID, Answer(HERE))
    running = search(Identity(Machine(), {}), Wants(ID), broken, good)
    wait_for(lambda: running.over)
    assert running.identity.machine() == HERE
    assert "ZeroDivisionError" in running.finder.status()["imds"]


def test_a_stop_ends_the_waiting(
    search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is told to stop is not kept by a pause, and the log accuses nobody."""
    monkeypatch.setattr(finder, "_FIRST_PAUSE", 60.0)
    deaf = Asked(Step.IMDS, ID, Answer(why="no answer"))
    with capture_logs() as said:
        running = search(Identity(Machine(), {}), Wants(ID), deaf)
        wait_for(lambda: running.finder.status() == {"imds": "no answer"})
        running.finder.stop()
        wait_for(lambda: running.over, 5)
    assert [each["event"] for each in said] == ["identity_asked"]


def test_the_first_round_can_be_waited_for(search: Callable[..., Search]) -> None:
    """Labels are made after everybody was asked once, not a moment before."""
    slow = Asked(Step.IMDS, ID, Answer(HERE))
    slow.may_answer.clear()
    identity = Identity(Machine(), {})
    assert identity.settled.is_set(), "where nobody asks there is nothing to wait for"
    search(identity, Wants(ID), slow)
    assert not identity.settled.is_set()
    slow.may_answer.set()
    assert identity.settled.wait(5)
    assert identity.machine() == HERE


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board without files, whatever machine the test runs on."""
    monkeypatch.setattr(dmi, "FOLDER", tmp_path)
    return tmp_path


def labelled(parts: Pipeline) -> bool:
    """Whether the series of a report, which is given now, have the instance's id."""
    line = json.dumps(report(instance_info={})).encode()
    now = time.monotonic()
    parts.intake.line(memoryview(line), Moment(time.time(), now))
    assert parts.prometheus is not None
    return HERE.instance_id.encode() in parts.prometheus.expose(now)


@pytest.mark.usefixtures("board")
def test_the_first_report_waits_for_the_first_answers() -> None:
    """A label that is known a moment after the first report is not lost for the daemon's life."""
    parts = build(load(), environment={})
    parts.identity.settled.clear()

    def answer() -> None:
        parts.identity.learn(Step.IMDS, HERE)
        parts.identity.settled.set()

    threading.Timer(0.1, answer).start()
    assert labelled(parts)


@pytest.mark.usefixtures("board")
def test_no_report_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer costs labels, not reports: the first waits its time, the next not at
    all."""
    parts = build(load(), environment={})
    parts.identity.settled.clear()
    monkeypatch.setattr(intake, "IDENTITY_WAIT", 0.05)
    assert not labelled(parts)
    monkeypatch.setattr(intake, "IDENTITY_WAIT", 600.0)
    assert not labelled(parts)


# For how long a field is worth asking for


SETS = (frozenset({"instance_id", "cluster"}), frozenset({"instance_type"}))


@pytest.mark.parametrize(
    ("known", "age", "lacking"),
    [
        ({}, 0, {"region", "instance_id", "cluster", "instance_type"}),
        ({"instance_type": "t"}, 59, {"region", "instance_id", "cluster"}),
        ({"instance_type": "t"}, 60, set()),
        ({"instance_id": "i"}, 60, {"cluster", "instance_type"}),
        ({"instance_id": "i"}, 599, {"cluster", "instance_type"}),
        ({"instance_id": "i"}, 600, set()),
    ],
)
def test_labels_wait_a_minute_and_sets_ten(
    known: Mapping[str, str], age: float, lacking: set[str]
) -> None:
    """A sink that has begun with a complete set keeps its dimensions; one without any is helped."""
    wants = Wants(frozenset({"region"}), SETS)
    assert wants.lacking(Machine(**known), age) == lacking


def test_without_cloudwatch_nobody_is_asked_after_a_minute() -> None:
    """Labels that are frozen need no more answers."""
    assert Wants(ID).lacking(Machine(), 59) == ID
    assert Wants(ID).lacking(Machine(), 60) == set()


# Whose word counts


def test_the_chain_decides_field_by_field() -> None:
    """However late it comes, the word of an earlier place counts; and no place changes its own."""
    identity = Identity(Machine(), {})
    expected = ""
    for step in reversed(Step):
        identity.learn(step, Machine(cluster=step.name))
        identity.learn(step, Machine(cluster="changed", service=f"{step.name} only"))
        expected = step.name
        assert identity.machine().cluster == expected
    assert expected == "CONFIGURATION"
    identity = Identity(Machine(), {})
    identity.learn(Step.STREAM, Machine(region="a"))
    assert identity.learn(Step.ECS, Machine(region="b", cluster="c")) == Machine(
        region="a", cluster="c"
    )
