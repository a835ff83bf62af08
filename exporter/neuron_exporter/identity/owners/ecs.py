"""Whose processes and devices are on a machine of an ECS cluster.

Beside a workload (a sidecar) it is our own task, by the task metadata endpoint. On a machine of
others (a daemon) it is whoever's container a process runs in: its cgroup names the container, and
the agent's introspection endpoint, which lists all tasks of the machine, the task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from neuron_exporter.identity.devices import devices
from neuron_exporter.identity.ecs_task import from_task
from neuron_exporter.identity.fields import text
from neuron_exporter.identity.local_http import NoAnswer, as_object, ask
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.resolver import Told
from neuron_exporter.model import Owner, Owners, Task

AGENT = "http://127.0.0.1:51678"
"""The agent's introspection endpoint (amazon-ecs-agent, README). It is open to the host's own
network, and with that to containers that share it (`networkMode: host`)."""

_ALL_DEVICES = Path("/dev/mem")
"""Present where a container is privileged, and sees devices that others have as well."""

_TASK = re.compile(r"arn:[^:]+:ecs:[^:]+:[^:]+:task/.+")

ByContainer = Mapping[str, Owner]
"""Owners by the ids of their containers."""

_Own = tuple[str, ByContainer, Owner | None]
"""Our own container's id, the owners of those beside it, and what these have in common."""


class Services(Protocol):
    """Somebody who knows the services of tasks."""

    def of(self, tasks: Iterable[str]) -> tuple[Mapping[str, str], str]:
        """The services by the tasks' ARNs; and why some could not be told."""


class EcsOwners:
    """Asks the agent, by both of its endpoints. `base` is the metadata endpoint's address, None
    where we run in no task."""

    name = "ECS"

    def __init__(
        self,
        base: str | None,
        agent: str = AGENT,
        services: Services | None = None,
        *,
        present: Callable[[], frozenset[int]] = devices,
        proc: Path = cgroup.PROC,
        all_devices: Path = _ALL_DEVICES,
    ) -> None:
        self._base = base
        self._agent = agent
        self._services = services
        self._present = present
        self._proc = proc
        self._all_devices = all_devices
        self._own: _Own = "", {}, None
        self._machine: ByContainer = {}
        self._is_complete = True
        self._is_of_host = False

    def ask(self, pids: frozenset[int]) -> Told:
        """Whose these processes are, and whose the devices that our own container has."""
        reasons: list[str] = []
        ours, beside, whose = self._own_task(reasons)
        found = cgroup.of_processes(pids, self._proc)
        containers = {pid: each.id for pid, each in found.items() if each.id != ours}
        strangers = {*containers.values()} - beside.keys()
        if strangers - self._machine.keys() or not self._is_complete:
            self._ask_agent(reasons)
        known = {**self._machine, **beside}
        by_pid: dict[int | None, Owner] = {
            pid: known[name] for pid, name in containers.items() if name in known
        }
        return Told(Owners(by_pid=by_pid, task=self._task(whose)), "; ".join(reasons))

    def _own_task(self, reasons: list[str]) -> _Own:
        """What was told of it last: whose it is does not change."""
        if self._base is not None:
            try:
                ours = as_object(ask(self._base, ""))
                self._own = _beside(text(ours.get("DockerId")), as_object(ask(self._base, "/task")))
            except NoAnswer as error:
                reasons.append(f"task metadata: {error}")
        return self._own

    def _task(self, whose: Owner | None) -> Task | None:
        """Our own devices, where nobody else can have them: not beside a daemon, who is in the
        host's network, nor in a privileged container."""
        present = self._present()
        if whose is None or not present or self._all_devices.exists() or self._sees_agent():
            return None
        return Task(whose, present)

    def _sees_agent(self) -> bool:
        if not self._is_of_host:
            with suppress(NoAnswer):
                ask(self._agent, "/v1/metadata")
                self._is_of_host = True
        return self._is_of_host

    def _ask_agent(self, reasons: list[str]) -> None:
        """Learn every container of the machine's tasks."""
        try:
            tasks = _objects(as_object(ask(self._agent, "/v1/tasks")).get("Tasks"))
        except NoAnswer as error:
            reasons.append(f"agent at {self._agent}: {error}")
            return
        services: Mapping[str, str] = {}
        why = ""
        if self._services is not None:
            services, why = self._services.of(arn for task in tasks if (arn := _arn(task)))
        reasons += [why] if why else []
        self._is_complete = not why
        self._machine = {
            id: owner
            for task in tasks
            for id, owner in _containers(
                _objects(task.get("Containers")),
                Owner(task_family=text(task.get("Family")), service=services.get(_arn(task), "")),
            )
        }


def _beside(ours: str, task: Mapping[str, Any]) -> _Own:
    beside = [
        each
        for each in _objects(task.get("Containers"))
        if text(each.get("DockerId")) != ours
        and text(each.get("Type")) in ("", "NORMAL")
        and text(each.get("KnownStatus")) != "STOPPED"
    ]
    machine = from_task(task)
    whose = Owner(task_family=machine.task_family, service=machine.service)
    if not ours or not beside:
        return ours, {}, None  # who has nobody beside it holds nothing
    if len(beside) == 1:
        whose = replace(whose, container=text(beside[0].get("Name")))
    return ours, dict(_containers(beside, whose)), whose


def _containers(listed: list[dict[str, Any]], whose: Owner) -> Iterator[tuple[str, Owner]]:
    for each in listed:
        if id := text(each.get("DockerId")):
            yield id, replace(whose, container=text(each.get("Name")))


def _arn(task: Mapping[str, Any]) -> str:
    arn = text(task.get("Arn"))
    return arn if _TASK.fullmatch(arn) else ""


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
