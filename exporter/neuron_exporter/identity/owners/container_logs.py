"""Which pod a process belongs to: its cgroup names its container, and the kubelet names each
container's log by pod, namespace and container.

No kubelet API tells ids of containers without credentials; the links of /var/log/containers do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from neuron_exporter.identity.fields import text
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.resolver import Told
from neuron_exporter.model import Owner, Owners

FOLDER = Path("/var/log/containers")
"""Links to logs: POD_NAMESPACE_CONTAINER-ID.log (kubernetes, kuberuntime's legacy log links)."""

_NAME = re.compile(r"([a-z0-9.-]+)_([a-z0-9-]+)_([a-z0-9-]+)-([0-9a-f]{64})\.log")


class PodsByContainer:
    """Reads both; the folder again where a container is not known."""

    name = "containers"

    def __init__(self, folder: Path = FOLDER, proc: Path = cgroup.PROC) -> None:
        self._folder = folder
        self._proc = proc
        self._owners: Mapping[str, Owner] = {}

    def ask(self, pids: frozenset[int]) -> Told:
        """Whose these processes are, as far as they run in pods."""
        found = cgroup.of_processes(pids, self._proc)
        ids = {pid: each.id for pid, each in found.items() if each.pod_uid}
        why = ""
        if not self._owners.keys() >= {*ids.values()}:
            try:
                self._owners = _owners(os.listdir(self._folder))
            except OSError as error:
                why = f"{self._folder}: {error.strerror}"
        return Told(
            Owners(by_pid={pid: self._owners[id] for pid, id in ids.items() if id in self._owners}),
            why,
        )


def _owners(names: list[str]) -> dict[str, Owner]:
    found = filter(None, map(_NAME.fullmatch, names))
    return {
        id: Owner(namespace=text(namespace), pod=text(pod), container=text(container))
        for pod, namespace, container, id in (each.groups() for each in found)
    }
