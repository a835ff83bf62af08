"""Owners of cores and devices, from the kubelet's pod-resources API.

The API is gRPC over a unix socket without TLS. Device ids are defined by the device plugin, and
names of claimed devices by the driver of Dynamic Resource Allocation (DRA); neither guarantees a
format. The ids of Neuron's plugin are plain numbers, and the names of its driver end with one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.owners.lookup import REFRESH_INTERVAL, OwnersResult
from neuron_exporter.identity.owners.pod_resources_pb2 import (
    AllocatableResourcesResponse,
    ContainerDevices,
    EmptyRequest,
    ListPodResourcesResponse,
)
from neuron_exporter.identity.owners.unix_grpc import CallError, call
from neuron_exporter.model import Allocation, Owner, Owners
from neuron_exporter.text import truncated_repr

TIMEOUT = 1.0
"""Seconds for all calls of one lookup."""

CORE_RESOURCE = "aws.amazon.com/neuroncore"
DEVICE_RESOURCES = ("aws.amazon.com/neuron", "aws.amazon.com/neurondevice")
"""Resources of Neuron's device plugin; the last name is deprecated."""

DRA_DRIVER = "neuron.aws.com"

_SERVICE = "/v1.PodResourcesLister"
_NEURON_PREFIX = "aws.amazon.com/neuron"
_NUMBER = re.compile(r"([0-9]{1,4})")
_CLAIMED_DEVICE = re.compile(r"neuron-?device-?([0-9]{1,4})")
"""Name of a claimed device: `neurondevice2` in AWS's documentation (aws-neuron-sdk 81ce03a,
deploy/eks/dra.rst), `neuron-device-2` on clusters. The names of the nodes of an UltraServer
(`resourceType == 'neuron_node'`) are not public."""
_MAX_LISTED = 5
_MAX_RESOURCES = 100
_MAX_SHOWN = 60


class PodAllocations(NamedTuple):
    """The Neuron allocations of all pods, all resource names in use, and what was not parsed."""

    allocation: Allocation
    resources: frozenset[str]
    unparsed: tuple[str, ...]


class KubeletOwnerProvider:
    """Provider of core and device owners. After a failure the last result counts for two rounds."""

    name = "kubelet"

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._last: Allocation | None = None
        self._valid_until = 0.0

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the allocation of cores and devices; the kubelet reports no processes."""
        try:
            found = list_allocations(self._path)
        except CallError as failure:
            if self._clock() >= self._valid_until:
                self._last = None
            return OwnersResult(Owners(allocation=self._last), str(failure))
        self._last = found.allocation
        self._valid_until = self._clock() + 2 * REFRESH_INTERVAL
        error = ", ".join(f"{each} is not supported" for each in found.unparsed)
        return OwnersResult(
            Owners(allocation=self._last), error, ", ".join(sorted(found.resources))
        )


def list_allocations(path: str) -> PodAllocations:
    """Return the allocations of all pods on this node.

    Raises:
        CallError: the kubelet did not answer.
    """
    deadline = time.monotonic() + TIMEOUT
    listed = call(path, f"{_SERVICE}/List", EmptyRequest(), ListPodResourcesResponse, TIMEOUT)
    try:
        method, left = f"{_SERVICE}/GetAllocatableResources", deadline - time.monotonic()
        allocatable = call(path, method, EmptyRequest(), AllocatableResourcesResponse, left)
    except CallError:
        # Missing before Kubernetes 1.23. It only helps to interpret core numbers.
        allocatable = AllocatableResourcesResponse()
    return _parse(listed, allocatable.devices)


def _parse(
    listed: ListPodResourcesResponse, allocatable: Iterable[ContainerDevices]
) -> PodAllocations:
    cores: dict[int, Owner] = {}
    devices: dict[int, Owner] = {}
    resources: set[str] = set()
    unparsed: dict[str, None] = {}
    owners_of = {
        CORE_RESOURCE: (cores, _NUMBER),
        **dict.fromkeys(DEVICE_RESOURCES, (devices, _NUMBER)),
        DRA_DRIVER: (devices, _CLAIMED_DEVICE),
    }
    for owner, name, ids in _entries(listed):
        if len(resources) < _MAX_RESOURCES:
            resources.add(name)
        if name in owners_of:
            owners, form = owners_of[name]
            for id in ids:
                if match := form.fullmatch(id):
                    number = int(match[1])
                    owners[number] = owners.get(number, owner).common(owner)
                else:
                    unparsed[f"{name} {truncated_repr(id, _MAX_SHOWN)}"] = None
        elif name.startswith((_NEURON_PREFIX, DRA_DRIVER)):
            unparsed[f"resource {name}"] = None
    ids = [
        id for each in allocatable if each.resource_name == CORE_RESOURCE for id in each.device_ids
    ]
    highest = max((int(id) for id in ids if _NUMBER.fullmatch(id)), default=None)
    return PodAllocations(
        Allocation(cores, devices, highest, is_complete=not unparsed),
        frozenset(resources),
        tuple(unparsed)[:_MAX_LISTED],
    )


def _entries(listed: ListPodResourcesResponse) -> Iterator[tuple[Owner, str, Iterable[str]]]:
    """Yield each owner with the name and the ids of a resource that is allocated to it."""
    for pod in listed.pod_resources:
        for container in pod.containers:
            owner = Owner(
                parse_text(pod.namespace), parse_text(pod.name), parse_text(container.name)
            )
            for each in container.devices:
                yield owner, parse_text(each.resource_name), each.device_ids
            for dynamic in container.dynamic_resources:
                for claim in dynamic.claim_resources:
                    yield owner, parse_text(claim.driver_name), (claim.device_name,)
