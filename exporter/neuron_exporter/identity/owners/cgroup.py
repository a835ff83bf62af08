"""The container that a process runs in, by the names of its cgroups.

Every container runtime puts the container's id into the path of its cgroup, each in a way of its
own; the tests list the shapes that are known. The processes of a container may have cgroups below
it, and a container may run in another (a node of `kind` does): the deepest id counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

_LONGEST = 64 * 1024
_ID = re.compile(
    r"(?:.*:)?"  # containerd with the systemd driver on version 1: SLICE:cri-containerd:ID
    r"(?:(?:docker|cri-containerd|crio|containerd|libpod|nerdctl)-)?"
    r"([0-9a-f]{64}|[0-9a-f]{32}-[0-9]{1,10})"  # the latter is ECS's own, where it needs no Docker
    r"(?:\.scope)?"
)
_POD = re.compile(
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?::.*)?$"
)


class Container(NamedTuple):
    """A container's id, and where it is a pod's, the pod's uid as Kubernetes writes it."""

    id: str
    pod_uid: str = ""


class Gone(Exception):
    """There is no such process in our pid namespace, or it does not let us look."""


def of_process(pid: int, proc: Path = PROC) -> Container | None:
    """The container of a process; None where it runs in none, or in one of an unknown shape.

    Raises:
        Gone: nothing can be read of it.
    """
    try:
        with (proc / str(pid) / "cgroup").open("rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError as error:
        raise Gone(error.strerror) from None
    if not text:
        raise Gone("it has just ended")
    return parse(text)


def of_processes(pids: Iterable[int], proc: Path = PROC) -> dict[int, Container]:
    """The containers of those processes that are seen to run in one."""
    found = {}
    for pid in pids:
        with suppress(Gone):
            found[pid] = of_process(pid, proc)
    return {pid: container for pid, container in found.items() if container is not None}


def parse(text: str) -> Container | None:
    """The container that /proc/PID/cgroup tells of: lines of `NUMBER:CONTROLLERS:PATH`.

    Hierarchies that know nothing of containers are the root's. Those that disagree name none.
    """
    found = {_container(line.split(":", 2)[2]) for line in text.splitlines() if line.count(":") > 1}
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def _container(path: str) -> Container | None:
    uid = container = ""
    for part in path.split("/"):
        if pod := _POD.search(part):
            # Systemd's names have no place for the dashes of a uid.
            uid, container = pod[1].replace("_", "-"), ""
        if named := _ID.fullmatch(part):
            container = named[1]
    return Container(container, uid) if container else None
