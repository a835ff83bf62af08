"""Owners of processes and devices on a machine of an ECS cluster.

A sidecar attributes its devices to its own task, which the task metadata endpoint describes. A
daemon attributes each process: its cgroup contains the container id, and the agent's introspection
endpoint lists the containers of all tasks on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuron_exporter.identity.ecs_task import parse_task
from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.local import present_devices
from neuron_exporter.identity.local_http import RequestFailed, request, request_object
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.lookup import OwnersResult
from neuron_exporter.model import Owner, Owners, Task

if TYPE_CHECKING:
    from neuron_exporter.identity.owners.ecs_services import EcsServiceProvider

AGENT = "http://127.0.0.1:51678"
"""The agent's introspection endpoint (amazon-ecs-agent, README). It is reachable from the host's
network, and thus from containers that share it (`networkMode: host`)."""

_ALL_DEVICES = Path("/dev/mem")
"""Exists only in privileged containers, which also see the devices of other containers."""

_TASK_ARN = re.compile(r"arn:[^:]+:ecs:[^:]+:[^:]+:task/.+")


class _OwnTask(NamedTuple):
    """Our own container's id, the owners of the task's other containers by container id, and the
    owner of the task's devices (None if the task has no other container)."""

    own_id: str = ""
    by_container: Mapping[str, Owner] = {}
    owner: Owner | None = None


class EcsOwnerProvider:
    """Provider of owners from both endpoints of the agent.

    `base` is the URL of the task metadata endpoint, None outside a task.
    """

    name = "ECS"

    def __init__(
        self,
        base: str | None,
        agent: str = AGENT,
        services: EcsServiceProvider | None = None,
        *,
        present: Callable[[], frozenset[int]] = present_devices,
        proc: Path = cgroup.PROC,
        all_devices: Path = _ALL_DEVICES,
    ) -> None:
        self._base = base
        self._agent = agent
        self._services = services
        self._present = present
        self._proc = proc
        self._all_devices = all_devices
        self._own_task = _OwnTask()
        self._by_container: Mapping[str, Owner] = {}
        self._has_all_services = True
        self._is_on_host_network = False

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the owners of these processes, and of our own container's devices."""
        errors: list[str] = []
        own = self._refresh_own_task(errors)
        containers = {
            pid: each.id
            for pid, each in cgroup.containers_of(pids, self._proc).items()
            if each.id != own.own_id
        }
        other_tasks = {*containers.values()} - own.by_container.keys()
        if other_tasks - self._by_container.keys() or not self._has_all_services:
            self._refresh_all_tasks(errors)
        owners = {**self._by_container, **own.by_container}
        found = Owners(
            by_pid={pid: owners[id] for pid, id in containers.items() if id in owners},
            task=self._task(own.owner),
        )
        return OwnersResult(found, "; ".join(errors))

    def _refresh_own_task(self, errors: list[str]) -> _OwnTask:
        """Return our own task. After a failure the last result stays valid: it does not change."""
        if self._base is not None:
            try:
                own_id = parse_text(request_object(self._base, "").get("DockerId"))
                self._own_task = _parse_own_task(own_id, request_object(self._base, "/task"))
            except RequestFailed as error:
                errors.append(f"task metadata: {error}")
        return self._own_task

    def _task(self, owner: Owner | None) -> Task | None:
        """Return our own devices with their owner, if no other task can use them.

        That excludes daemons, which run in the host's network, and privileged containers.
        """
        present = self._present()
        if owner is None or not present or self._all_devices.exists() or self._reaches_agent():
            return None
        return Task(owner, present)

    def _reaches_agent(self) -> bool:
        if not self._is_on_host_network:
            with suppress(RequestFailed):
                request(self._agent, "/v1/metadata")
                self._is_on_host_network = True
        return self._is_on_host_network

    def _refresh_all_tasks(self, errors: list[str]) -> None:
        """Read the containers of all tasks on the machine."""
        try:
            tasks = _objects(request_object(self._agent, "/v1/tasks").get("Tasks"))
        except RequestFailed as failure:
            errors.append(f"agent at {self._agent}: {failure}")
            return
        services: Mapping[str, str] = {}
        error = ""
        if self._services is not None:
            services, error = self._services.lookup(arn for task in tasks if (arn := _arn(task)))
        if error:
            errors.append(error)
        self._has_all_services = not error
        self._by_container = {
            id: owner
            for task in tasks
            for id, owner in _owners_by_container(
                _objects(task.get("Containers")),
                Owner(
                    task_family=parse_text(task.get("Family")),
                    service=services.get(_arn(task), ""),
                ),
            )
        }


def _parse_own_task(own_id: str, task: Mapping[str, Any]) -> _OwnTask:
    others = [
        each
        for each in _objects(task.get("Containers"))
        if parse_text(each.get("DockerId")) != own_id
        and parse_text(each.get("Type")) in ("", "NORMAL")
        and parse_text(each.get("KnownStatus")) != "STOPPED"
    ]
    if not own_id or not others:
        return _OwnTask(own_id)  # a daemon, alone in its task: its devices belong to other tasks
    machine = parse_task(task)
    owner = Owner(task_family=machine.task_family, service=machine.service)
    if len(others) == 1:
        owner = replace(owner, container=parse_text(others[0].get("Name")))
    return _OwnTask(own_id, dict(_owners_by_container(others, owner)), owner)


def _owners_by_container(
    containers: list[dict[str, Any]], owner: Owner
) -> Iterator[tuple[str, Owner]]:
    for each in containers:
        if id := parse_text(each.get("DockerId")):
            yield id, replace(owner, container=parse_text(each.get("Name")))


def _arn(task: Mapping[str, Any]) -> str:
    arn = parse_text(task.get("Arn"))
    return arn if _TASK_ARN.fullmatch(arn) else ""


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
