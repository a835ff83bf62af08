"""Who is asked for what is lacking, for how long, and whose word counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter import identify
from exporter.config import Given, load
from exporter.identity import ask, dmi, finder
from exporter.identity.answer import Answer
from exporter.identity.finder import LABELS_WAIT, SETS_WAIT, Finder, Source, Wants
from exporter.identity.machine import Identity, Step
from exporter.model import Machine
from exporter.pipeline import build
from tests.support import metadata
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
    monkeypatch.setattr(ask, "SECONDS", 0.3)


class Asked:
    """A source that gives prepared answers, the last one for ever."""

    def __init__(self, step: Step, gives: Set[str], *answers: Answer | Exception) -> None:
        self.lacking: list[Set[str]] = []
        self._answers = list(answers)
        self.source = Source(step, frozenset(gives), self._ask)

    def _ask(self, lacking: Set[str]) -> Answer:
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
    let = threading.Event()

    def slow(_: Set[str]) -> Answer:
        let.wait(5)
        return Answer(HERE)

    identity = Identity(Machine(), {})
    assert identity.settled.is_set(), "where nobody asks there is nothing to wait for"
    running = Search(identity, Wants(ID))
    running.finder._sources = [Source(Step.IMDS, ID, slow)]
    running.finder._status = {"imds": ""}
    running.finder.start()
    assert not identity.settled.is_set()
    let.set()
    assert identity.settled.wait(5)
    assert identity.machine() == HERE
    wait_for(lambda: running.over)


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


# What is asked for whom


def sought(
    variables: Mapping[str, str] | None = None, **keys: Any
) -> tuple[frozenset[str], list[str]]:
    """The fields that are lacking at the start, and who is asked."""
    flags = [Given("flag", key.replace("__", "."), value) for key, value in keys.items()]
    found = build(load(flags=flags), environment=variables or {}).finder
    return (frozenset(), []) if found is None else (found._lacking(), list(found.status()))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board without files, whatever machine the test runs on."""
    monkeypatch.setattr(dmi, "FOLDER", tmp_path)
    return tmp_path


AGENT = {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4/x"}
SENT = {"cloudwatch__enabled": True, "prometheus__enabled": False}


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("variables", "keys", "asked"),
    [
        ({}, {}, ["imds"]),
        (AGENT, {}, ["imds", "ecs"]),
        (AGENT, {"identity__imds": False}, ["ecs"]),
        (AGENT, {"identity__ecs": False}, ["imds"]),
        ({**AGENT, "AWS_EC2_METADATA_DISABLED": "true"}, {}, ["ecs"]),
        ({}, {"identity__imds": False}, []),
        ({}, {"source__kind": "stdin"}, ["imds"]),
        ({}, {"source__kind": "simulator"}, []),
        ({}, {"source__kind": "file", "source__path": __file__}, []),
        (
            {},
            {**SENT, "cloudwatch__dimension_sets": [["ClusterName"]], "cloudwatch__region": "a"},
            [],
        ),
    ],
)
def test_those_are_asked_who_may_be_and_can_tell(
    variables: dict[str, str], keys: dict[str, Any], asked: list[str]
) -> None:
    """Switches, variables and what is lacking decide; a replayed machine is never this one."""
    assert sought(variables, **keys)[1] == asked


@pytest.mark.usefixtures("board")
def test_what_the_sinks_need_is_asked_for() -> None:
    """Prometheus wants its labels, CloudWatch its dimensions and a region, nobody anything else."""
    assert sought()[0] == identify.LABELLED
    sets = [["InstanceId", "Stage"], ["AutoScalingGroupName"]]
    keys: dict[str, Any] = {
        **SENT,
        "cloudwatch__dimension_sets": sets,
        "cloudwatch__extra_dimensions": {"Stage": "x", "InstanceId": "mine"},
    }
    assert sought(**keys)[0] == {"auto_scaling_group", "region"}
    assert sought(**keys, cloudwatch__region="eu-west-1")[0] == {"auto_scaling_group"}


def test_the_board_goes_before_the_services(board: Path) -> None:
    """What the firmware tells is asked of nobody."""
    (board / "board_vendor").write_text("Amazon EC2\n")
    (board / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    assert "instance_id" not in sought()[0]


def test_the_whole_chain_in_a_task(board: Path) -> None:
    """Behind a hop limit of 1 a task still learns all that its sets name, of firmware and agent."""
    (board / "sys_vendor").write_text("Amazon EC2\n")
    (board / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    with metadata.imds({"/latest/api/token": metadata.silent}) as imds, metadata.ecs() as agent:
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url,
            "ECS_CONTAINER_METADATA_URI_V4": agent.url,
            "AWS_REGION": "eu-west-1",
        }
        flags = [
            Given("flag", "prometheus.enabled", False),
            Given("flag", "cloudwatch.enabled", True),
            Given(
                "flag",
                "cloudwatch.dimension_sets",
                [["InstanceId", "AccountId"], ["ClusterName", "ServiceName"]],
            ),
        ]
        parts = build(load(flags=flags), environment=variables)
        assert parts.finder is not None
        parts.finder.start()
        wait_for(lambda: not parts.finder or not parts.finder._thread.is_alive())
        status = parts.finder.status()
    assert status == {"imds": "no token: no answer within 0.3 s", "ecs": "answered"}
    found = parts.identity.machine()
    assert found == replace(
        found,
        instance_id="i-0123456789abcdef0",
        account="123456789012",
        cluster="training",
        service="resnet-inference",
        region="us-west-2",
    )
