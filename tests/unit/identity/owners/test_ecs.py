"""Whose processes and devices are on a machine of an ECS cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.owners.ecs import EcsOwners
from neuron_exporter.identity.owners.ecs_services import MOST_TASKS, DescribedServices
from neuron_exporter.model import Owner, Task
from tests.support import metadata
from tests.support.cgroups import process_in
from tests.support.http import serving

TASK, OTHER = "158d1c8083dd49d6b527399fd6414f5c", "258d1c8083dd49d6b527399fd6414f5d"
OURS, APP = metadata.OURS["DockerId"], metadata.APP["DockerId"]
TRAIN, INFER = "1" * 64, "2" * 64
NOWHERE = "http://127.0.0.1:1"

RESNET = Owner(container="app", task_family="resnet", service="resnet-inference")


class Processes:
    """A folder in the place of /proc, with the cgroups of some processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, pid: int, cgroup: str) -> None:
        """Have a process in this cgroup."""
        (self.folder / str(pid)).mkdir(exist_ok=True)
        (self.folder / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """Nobody yet."""
    return Processes(tmp_path)


def asking(
    processes: Processes, base: str | None = None, agent: str = NOWHERE, **more: Any
) -> EcsOwners:
    """Who asks, in a container that has two devices and no others' devices."""
    settings = {"present": lambda: frozenset({2, 3}), "all_devices": Path("/nonexistent"), **more}
    return EcsOwners(base, agent, proc=processes.folder, **settings)


def of(task: str, container: str) -> str:
    """A cgroup as ECS names it."""
    return f"/ecstasks.slice/ecstasks-{task}.slice/docker-{container}.scope"


# A daemon


def test_a_daemon_learns_whose_each_process_is(processes: Processes) -> None:
    """By its cgroup, and by what the agent tells of all tasks of the machine, asked once."""
    processes.run(10, of(TASK, TRAIN))
    processes.run(11, of(OTHER, INFER))
    processes.run(12, "/system.slice/sshd.service")
    tasks = [
        metadata.introspected("train", TASK, {TRAIN: "trainer", "9" * 64: "log-router"}),
        metadata.introspected("infer", OTHER, {INFER: "model"}),
    ]
    with metadata.introspection(*tasks) as agent:
        owners = asking(processes, agent=agent.url)
        told = owners.ask(frozenset({10, 11, 12, 13}))
        assert told.owners.by_pid == {
            10: Owner(container="trainer", task_family="train"),
            11: Owner(container="model", task_family="infer"),
        }
        assert told.why == ""
        assert told.owners.task is None
        owners.ask(frozenset({10, 11}))
        assert agent.asked == ["GET /v1/tasks"]
        processes.run(14, of(OTHER, "3" * 64))
        owners.ask(frozenset({14}))
        assert len(agent.asked) == 2, "a container that is not known may be a new task's"


def test_a_real_process_is_its_tasks() -> None:
    """What the kernel tells of a process in a container's cgroup leads to the task."""
    with (
        process_in(f"/ecs/{TASK}/{TRAIN}") as pid,
        metadata.introspection(metadata.introspected("train", TASK, {TRAIN: "trainer"})) as agent,
    ):
        told = EcsOwners(None, agent.url).ask(frozenset({pid}))
    assert told.owners.by_pid == {pid: Owner(container="trainer", task_family="train")}


def test_an_agent_that_does_not_answer_is_said(processes: Processes) -> None:
    """No label and a reason; what was learned before stays."""
    processes.run(10, of(TASK, TRAIN))
    with metadata.introspection(metadata.introspected("train", TASK, {TRAIN: "t"})) as agent:
        owners = asking(processes, agent=agent.url)
        owners.ask(frozenset({10}))
    processes.run(11, of(OTHER, INFER))
    told = owners.ask(frozenset({10, 11}))
    assert told.owners.by_pid == {10: Owner(container="t", task_family="train")}
    assert told.why.startswith(f"agent at {agent.url}: ")


@pytest.mark.parametrize(
    "answer",
    [b"[]", b"{", b'{"Tasks": null}', b'{"Tasks": [7, {"Containers": [null, {"Name": "x"}]}]}'],
)
def test_garbage_names_nobody(processes: Processes, answer: bytes) -> None:
    """Whatever the agent answers, nothing fails."""
    processes.run(10, of(TASK, TRAIN))
    with metadata.introspection() as agent:
        agent.answers["/v1/tasks"] = metadata.body(answer)
        assert asking(processes, agent=agent.url).ask(frozenset({10})).owners.by_pid == {}


# A sidecar


def test_a_sidecars_devices_are_its_own_tasks(processes: Processes) -> None:
    """Devices of our own container are those of the one container beside us; the network's pause
    container is nobody."""
    with metadata.ecs() as agent:
        told = asking(processes, agent.url).ask(frozenset({700}))
    assert told.owners.task == Task(RESNET, frozenset({2, 3}))
    assert told.why == ""


def test_of_several_containers_beside_us_none_is_named(processes: Processes) -> None:
    """Which of them has the device is not known; family and service are."""
    beside = [metadata.OURS, metadata.APP, {"DockerId": "b" * 64, "Name": "envoy"}]
    with metadata.ecs(metadata.body({**metadata.TASK, "Containers": beside})) as agent:
        told = asking(processes, agent.url).ask(frozenset())
    assert told.owners.task is not None
    assert told.owners.task.owner == Owner(task_family="resnet", service="resnet-inference")


def test_a_container_that_has_done_its_work_is_not_beside_us(processes: Processes) -> None:
    """One that has fetched the model and ended leaves the other alone."""
    done = {"DockerId": "b" * 64, "Name": "fetch", "KnownStatus": "STOPPED"}
    beside = [metadata.OURS, metadata.APP, done]
    with metadata.ecs(metadata.body({**metadata.TASK, "Containers": beside})) as agent:
        told = asking(processes, agent.url).ask(frozenset())
    assert told.owners.task is not None
    assert told.owners.task.owner == RESNET


def test_a_daemons_devices_are_not_its_own(processes: Processes) -> None:
    """Who is alone in its task holds nothing, though it has every device."""
    with metadata.ecs(metadata.body({**metadata.TASK, "Containers": [metadata.OURS]})) as agent:
        assert asking(processes, agent.url).ask(frozenset()).owners.task is None


def test_a_daemon_with_company_claims_nothing(processes: Processes) -> None:
    """A router of logs in the daemon's task holds none of the machine's devices: who reaches the
    agent's own endpoint is in the host's network, and no sidecar."""
    router = {"DockerId": "b" * 64, "Name": "log_router"}
    beside = metadata.body({**metadata.TASK, "Containers": [metadata.OURS, router]})
    with metadata.ecs(beside) as task, metadata.introspection() as agent:
        agent.answers["/v1/metadata"] = metadata.body({"Cluster": "training"})
        owners = asking(processes, task.url, agent.url)
        assert owners.ask(frozenset()).owners.task is None
        del agent.answers["/v1/metadata"]
        assert owners.ask(frozenset()).owners.task is None, "though it may be away for a while"


def test_who_is_privileged_claims_nothing(processes: Processes, tmp_path: Path) -> None:
    """A privileged container sees devices that other tasks may hold."""
    everything = tmp_path / "mem"
    everything.touch()
    with metadata.ecs() as agent:
        told = asking(processes, agent.url, all_devices=everything).ask(frozenset())
    assert told.owners.task is None


def test_who_shares_the_tasks_processes_names_the_container(processes: Processes) -> None:
    """With `pidMode: task` a process is its container's, and none is ours."""
    processes.run(10, of(TASK, str(APP)))
    processes.run(11, of(TASK, str(OURS)))
    with metadata.ecs() as agent:
        told = asking(processes, agent.url).ask(frozenset({10, 11}))
    assert told.owners.by_pid == {10: RESNET}
    assert told.why == "", "the machine's agent is asked for strangers only"


def test_a_tasks_metadata_that_fails_once_changes_nothing(processes: Processes) -> None:
    """Whose devices ours are does not change while we live."""
    with metadata.ecs() as agent:
        owners = asking(processes, agent.url)
        first = owners.ask(frozenset()).owners
        agent.answers.clear()
        told = owners.ask(frozenset())
    assert told.owners == first
    assert told.why == "task metadata: the answer was 404"


# Services


class Ecs:
    """ECS's API as far as tasks are described, on a real socket. What it was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.groups: dict[str, str] = {}
        self.refuse = ""
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Describe the tasks, or refuse."""
        asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        assert handler.headers["X-Amz-Target"].endswith(".DescribeTasks")
        assert "/us-west-2/ecs/" in handler.headers["Authorization"]
        self.asked.append(asked)
        tasks = [
            {"taskArn": arn, "group": self.groups[arn]}
            for arn in asked["tasks"]
            if arn in self.groups
        ]
        document = {"tasks": tasks, "failures": []}
        if self.refuse:
            document = {"__type": self.refuse, "message": "you may not"}
        body = json.dumps(document).encode()
        handler.send_response(400 if self.refuse else 200)
        handler.send_header("Content-Type", "application/x-amz-json-1.1")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def _ecs() -> Iterator[Ecs]:
    ecs = Ecs()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ecs.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as ecs.url:
        yield ecs


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch, nobodys_credentials: None) -> Iterator[Ecs]:
    """ECS, where botocore looks for it."""
    with _ecs() as ecs:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", ecs.url)
        yield ecs


def arn(number: int) -> str:
    """A task's."""
    return f"arn:aws:ecs:us-west-2:123456789012:task/training/{number:032x}"


def test_services_are_asked_for_once(ecs: Ecs) -> None:
    """A task's service does not change; a task of none has none, and is not asked for again."""
    ecs.groups = {arn(1): "service:web", arn(2): "family:batch"}
    services = DescribedServices()
    expected = {arn(1): "web", arn(2): "", arn(3): ""}
    for _ in range(2):
        assert services.of([arn(1), arn(2), arn(3)]) == (expected, "")
    assert ecs.asked == [{"cluster": "training", "tasks": [arn(1), arn(2), arn(3)]}]


def test_many_tasks_are_several_requests(ecs: Ecs) -> None:
    """ECS describes a hundred tasks at a time."""
    tasks = list(map(arn, range(MOST_TASKS + 1)))
    DescribedServices().of(tasks)
    assert [len(each["tasks"]) for each in ecs.asked] == [MOST_TASKS, 1]


def test_a_right_that_is_missing_is_said_and_tried_again_later(
    ecs: Ecs, processes: Processes
) -> None:
    """Family and container are there all the same; the service comes when it may."""
    now = [0.0]
    processes.run(10, of(TASK, TRAIN))
    described = metadata.introspected("train", TASK, {TRAIN: "trainer"})
    ecs.refuse = "AccessDeniedException"
    with metadata.introspection(described) as agent:
        services = DescribedServices(clock=lambda: now[0])
        owners = asking(processes, agent=agent.url, services=services)
        told = owners.ask(frozenset({10}))
        assert told.owners.by_pid == {10: Owner(container="trainer", task_family="train")}
        assert "ecs:DescribeTasks" in told.why
        assert "AccessDenied" in told.why
        ecs.refuse, ecs.groups = "", {described["Arn"]: "service:nightly"}
        assert owners.ask(frozenset({10})).why == told.why
        assert len(ecs.asked) == 1
        now[0] += 60
        told = owners.ask(frozenset({10}))
    assert told.why == ""
    assert told.owners.by_pid[10].service == "nightly"
