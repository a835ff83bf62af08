"""The container of a process, from the names of its cgroups.

Every container runtime writes the container id into the cgroup path, each in its own format; the
tests list the known formats. The processes of a container may have cgroups below it, and a
container may run inside another (a `kind` node does): the deepest id counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

_MAX_BYTES = 64 * 1024
_ID = re.compile(
    r"(?:.*:)?"  # containerd with the systemd driver on version 1: SLICE:cri-containerd:ID
    r"(?:(?:docker|cri-containerd|crio|containerd|libpod|nerdctl)-)?"
    r"([0-9a-f]{64}|[0-9a-f]{32}-[0-9]{1,10})"  # the second is ECS's own id, without Docker
    r"(?:\.scope)?"
)
_POD = re.compile(
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?::.*)?$"
)


class Container(NamedTuple):
    """A container id, and the uid of its pod (as Kubernetes writes it) if it belongs to one."""

    id: str
    pod_uid: str = ""


class ProcessUnavailable(Exception):
    """The process does not exist in our pid namespace, or may not be read."""


def container_of(pid: int, proc: Path = PROC) -> Container | None:
    """Return the container of a process, or None if it has none or its format is unknown.

    Raises:
        ProcessUnavailable: the process's cgroups cannot be read.
    """
    try:
        with (proc / str(pid) / "cgroup").open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ProcessUnavailable(error.strerror) from None
    if not text:
        raise ProcessUnavailable("the process has just ended")
    return parse(text)


def containers_of(pids: Iterable[int], proc: Path = PROC) -> dict[int, Container]:
    """Return the containers of those processes that run in one."""
    found = {}
    for pid in pids:
        with suppress(ProcessUnavailable):
            if container := container_of(pid, proc):
                found[pid] = container
    return found


def parse(text: str) -> Container | None:
    """Return the container in the content of /proc/PID/cgroup (lines NUMBER:CONTROLLERS:PATH).

    Hierarchies without containers have the path of the root. Returns None if hierarchies disagree.
    """
    found = {_container(line.split(":", 2)[2]) for line in text.splitlines() if line.count(":") > 1}
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def _container(path: str) -> Container | None:
    uid = container = ""
    for part in path.split("/"):
        if pod := _POD.search(part):
            # Systemd unit names cannot contain the dashes of a uid.
            uid, container = pod[1].replace("_", "-"), ""
        if match := _ID.fullmatch(part):
            container = match[1]
    return Container(container, uid) if container else None
