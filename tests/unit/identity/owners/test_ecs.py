"""Owners of processes and devices on a machine of an ECS cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.owners.ecs import EcsOwnerProvider
from neuron_exporter.model import Owner, Task
from tests.support import metadata
from tests.support.cgroups import process_in

TASK, OTHER = "158d1c8083dd49d6b527399fd6414f5c", "258d1c8083dd49d6b527399fd6414f5d"
OWN_CONTAINER, APP_CONTAINER = (
    metadata.OWN_CONTAINER["DockerId"],
    metadata.APP_CONTAINER["DockerId"],
)
TRAIN, INFER = "1" * 64, "2" * 64
UNREACHABLE = "http://127.0.0.1:1"

RESNET = Owner(container="app", task_family="resnet", service="resnet-inference")


class Processes:
    """A folder in place of /proc, with the cgroups of some processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid: int, cgroup: str) -> None:
        """Add a process in this cgroup."""
        (self.folder / str(pid)).mkdir(exist_ok=True)
        (self.folder / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """A /proc without processes."""
    return Processes(tmp_path)


def provider(
    processes: Processes, base: str | None = None, agent: str = UNREACHABLE, **more: Any
) -> EcsOwnerProvider:
    """Return a provider in an unprivileged container with two devices."""
    settings = {"present": lambda: frozenset({2, 3}), "all_devices": Path("/nonexistent"), **more}
    return EcsOwnerProvider(base, agent, proc=processes.folder, **settings)


def cgroup_of(task: str, container: str) -> str:
    """Return the cgroup path that ECS uses for a container."""
    return f"/ecstasks.slice/ecstasks-{task}.slice/docker-{container}.scope"


# Daemons


def test_daemon(processes: Processes) -> None:
    """A daemon attributes processes by cgroup, and lists the machine's tasks only for new
    containers."""
    processes.add(10, cgroup_of(TASK, TRAIN))
    processes.add(11, cgroup_of(OTHER, INFER))
    processes.add(12, "/system.slice/sshd.service")
    tasks = [
        metadata.agent_task("train", TASK, {TRAIN: "trainer", "9" * 64: "log-router"}),
        metadata.agent_task("infer", OTHER, {INFER: "model"}),
    ]
    with metadata.agent_server(*tasks) as agent:
        owners = provider(processes, agent=agent.url)
        result = owners.lookup(frozenset({10, 11, 12, 13}))
        assert result.owners.by_pid == {
            10: Owner(container="trainer", task_family="train"),
            11: Owner(container="model", task_family="infer"),
        }
        assert result.error == ""
        assert result.owners.task is None
        owners.lookup(frozenset({10, 11}))
        assert agent.requests == ["GET /v1/tasks"]
        processes.add(14, cgroup_of(OTHER, "3" * 64))
        owners.lookup(frozenset({14}))
        assert len(agent.requests) == 2, "an unknown container may belong to a new task"


def test_real_process() -> None:
    with (
        process_in(f"/ecs/{TASK}/{TRAIN}") as pid,
        metadata.agent_server(metadata.agent_task("train", TASK, {TRAIN: "trainer"})) as agent,
    ):
        result = EcsOwnerProvider(None, agent.url).lookup(frozenset({pid}))
    assert result.owners.by_pid == {pid: Owner(container="trainer", task_family="train")}


def test_agent_unreachable(processes: Processes) -> None:
    """The error is reported, and known containers keep their owners."""
    processes.add(10, cgroup_of(TASK, TRAIN))
    with metadata.agent_server(metadata.agent_task("train", TASK, {TRAIN: "t"})) as agent:
        owners = provider(processes, agent=agent.url)
        owners.lookup(frozenset({10}))
    processes.add(11, cgroup_of(OTHER, INFER))
    result = owners.lookup(frozenset({10, 11}))
    assert result.owners.by_pid == {10: Owner(container="t", task_family="train")}
    assert result.error.startswith(f"agent at {agent.url}: ")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{", b'{"Tasks": null}', b'{"Tasks": [7, {"Containers": [null, {"Name": "x"}]}]}'],
)
def test_agent_sends_garbage(processes: Processes, body: bytes) -> None:
    processes.add(10, cgroup_of(TASK, TRAIN))
    with metadata.agent_server() as agent:
        agent.responses["/v1/tasks"] = metadata.respond(body)
        assert provider(processes, agent=agent.url).lookup(frozenset({10})).owners.by_pid == {}


# Sidecars


def test_sidecar(processes: Processes) -> None:
    """The devices belong to the one other container of the task; the pause container does not
    count."""
    with metadata.ecs() as agent:
        result = provider(processes, agent.url).lookup(frozenset({700}))
    assert result.owners.task == Task(RESNET, frozenset({2, 3}))
    assert result.error == ""


def test_sidecar_with_several_containers(processes: Processes) -> None:
    """Family and service are known, the container is not."""
    containers = [
        metadata.OWN_CONTAINER,
        metadata.APP_CONTAINER,
        {"DockerId": "b" * 64, "Name": "envoy"},
    ]
    with metadata.ecs(metadata.respond({**metadata.TASK, "Containers": containers})) as agent:
        result = provider(processes, agent.url).lookup(frozenset())
    assert result.owners.task is not None
    assert result.owners.task.owner == Owner(task_family="resnet", service="resnet-inference")


def test_sidecar_ignores_stopped_container(processes: Processes) -> None:
    done = {"DockerId": "b" * 64, "Name": "fetch", "KnownStatus": "STOPPED"}
    containers = [metadata.OWN_CONTAINER, metadata.APP_CONTAINER, done]
    with metadata.ecs(metadata.respond({**metadata.TASK, "Containers": containers})) as agent:
        result = provider(processes, agent.url).lookup(frozenset())
    assert result.owners.task is not None
    assert result.owners.task.owner == RESNET


def test_daemon_alone_in_its_task(processes: Processes) -> None:
    """Its devices are not attributed to its own task."""
    with metadata.ecs(
        metadata.respond({**metadata.TASK, "Containers": [metadata.OWN_CONTAINER]})
    ) as agent:
        assert provider(processes, agent.url).lookup(frozenset()).owners.task is None


def test_daemon_with_log_router(processes: Processes) -> None:
    """A container on the host's network is no sidecar, even while the agent is unreachable."""
    router = {"DockerId": "b" * 64, "Name": "log_router"}
    beside = metadata.respond({**metadata.TASK, "Containers": [metadata.OWN_CONTAINER, router]})
    with metadata.ecs(beside) as task, metadata.agent_server() as agent:
        agent.responses["/v1/metadata"] = metadata.respond({"Cluster": "training"})
        owners = provider(processes, task.url, agent.url)
        assert owners.lookup(frozenset()).owners.task is None
        del agent.responses["/v1/metadata"]
        assert owners.lookup(frozenset()).owners.task is None, "while the agent is unreachable"


def test_privileged_container(processes: Processes, tmp_path: Path) -> None:
    """A privileged container also sees the devices of other tasks."""
    everything = tmp_path / "mem"
    everything.touch()
    with metadata.ecs() as agent:
        result = provider(processes, agent.url, all_devices=everything).lookup(frozenset())
    assert result.owners.task is None


def test_shared_pid_namespace(processes: Processes) -> None:
    """With `pidMode: task`, processes are attributed by cgroup, without listing the machine's
    tasks."""
    processes.add(10, cgroup_of(TASK, str(APP_CONTAINER)))
    processes.add(11, cgroup_of(TASK, str(OWN_CONTAINER)))
    with metadata.ecs() as agent:
        result = provider(processes, agent.url).lookup(frozenset({10, 11}))
    assert result.owners.by_pid == {10: RESNET}
    assert result.error == "", "all containers are of our own task"


def test_task_metadata_error_keeps_owner(processes: Processes) -> None:
    with metadata.ecs() as agent:
        owners = provider(processes, agent.url)
        first = owners.lookup(frozenset()).owners
        agent.responses.clear()
        result = owners.lookup(frozenset())
    assert result.owners == first
    assert result.error == "task metadata: HTTP status 404"


# Services


class FakeServices:
    """A service provider with a prepared result."""

    def __init__(self) -> None:
        self.result: tuple[dict[str, str], str] = {}, "no permission"
        self.lookups = 0

    def lookup(self, task_arns: Iterable[str]) -> tuple[dict[str, str], str]:
        """Return the prepared result."""
        self.lookups += len(list(task_arns))
        return self.result


def test_service_lookup_is_retried(processes: Processes) -> None:
    """Family and container are known without the service, which is added later."""
    processes.add(10, cgroup_of(TASK, TRAIN))
    task = metadata.agent_task("train", TASK, {TRAIN: "trainer"})
    services = FakeServices()
    with metadata.agent_server(task) as agent:
        owners = provider(processes, agent=agent.url, services=services)
        result = owners.lookup(frozenset({10}))
        assert result.owners.by_pid == {10: Owner(container="trainer", task_family="train")}
        assert result.error == "no permission"
        services.result = {task["Arn"]: "nightly"}, ""
        result = owners.lookup(frozenset({10}))
        assert result.error == ""
        assert result.owners.by_pid[10].service == "nightly"
        owners.lookup(frozenset({10}))
    assert services.lookups == 2, "complete results are not looked up again"
