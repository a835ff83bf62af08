"""Pods of processes, from cgroups and the names of container logs.

A process's cgroup contains its container id. The kubelet API maps no container ids to pods without
credentials, but the log links in /var/log/containers do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.lookup import OwnersResult
from neuron_exporter.model import Owner, Owners

FOLDER = Path("/var/log/containers")
"""Links to logs: POD_NAMESPACE_CONTAINER-ID.log (kubernetes, kuberuntime's legacy log links)."""

_NAME = re.compile(r"([a-z0-9.-]+)_([a-z0-9-]+)_([a-z0-9-]+)-([0-9a-f]{64})\.log")


class ContainerLogProvider:
    """Provider of process owners. Reads the folder again only if a container is unknown."""

    name = "containers"

    def __init__(self, folder: Path = FOLDER, proc: Path = cgroup.PROC) -> None:
        self._folder = folder
        self._proc = proc
        self._owners: Mapping[str, Owner] = {}

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the pods of those processes that run in one."""
        containers = cgroup.containers_of(pids, self._proc)
        ids = {pid: each.id for pid, each in containers.items() if each.pod_uid}
        error = ""
        if not self._owners.keys() >= {*ids.values()}:
            try:
                self._owners = _owners_by_container(os.listdir(self._folder))
            except OSError as failure:
                error = f"{self._folder}: {failure.strerror}"
        return OwnersResult(
            Owners(by_pid={pid: self._owners[id] for pid, id in ids.items() if id in self._owners}),
            error,
        )


def _owners_by_container(names: list[str]) -> dict[str, Owner]:
    matches = filter(None, map(_NAME.fullmatch, names))
    return {
        id: Owner(
            namespace=parse_text(namespace), pod=parse_text(pod), container=parse_text(container)
        )
        for pod, namespace, container, id in (each.groups() for each in matches)
    }
