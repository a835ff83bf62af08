"""Owners of cores and devices, from the kubelet's pod-resources API.

The API is gRPC over a unix socket without TLS. Device ids are defined by the device plugin, which
guarantees no format; those of Neuron's plugin are plain numbers.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import grpc

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.owners.lookup import REFRESH_INTERVAL, OwnersResult
from neuron_exporter.identity.owners.pod_resources_pb2 import (
    AllocatableResourcesResponse,
    ContainerDevices,
    EmptyRequest,
    ListPodResourcesResponse,
)
from neuron_exporter.model import NO_OWNER, Allocation, Owner, Owners

TIMEOUT = 1.0
"""Seconds for all calls of one lookup."""

CORE_RESOURCE = "aws.amazon.com/neuroncore"
DEVICE_RESOURCES = ("aws.amazon.com/neuron", "aws.amazon.com/neurondevice")
"""Resources of Neuron's device plugin; the last name is deprecated."""

DRA_DRIVER = "neuron.aws.com"

_NEURON_PREFIX = "aws.amazon.com/neuron"
_NUMBER = re.compile(r"[0-9]{1,4}")
_MAX_LISTED = 5
_OPTIONS = (
    # By default gRPC derives a host name from the socket's path, which the kubelet rejects.
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", 16 << 20),  # the kubelet's own limit
    ("grpc.enable_http_proxy", 0),
)

T = TypeVar("T")


class KubeletError(Exception):
    """A failed call to the kubelet; the message is the reason."""


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
        except KubeletError as failure:
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
        KubeletError: the kubelet did not answer.
    """
    deadline = time.monotonic() + TIMEOUT
    _check_socket(path)
    # Each lookup opens a new channel: after a failure, a channel delays its next connection.
    with grpc.insecure_channel(f"unix://{path}", _OPTIONS) as channel:
        try:
            listed = _call(channel, "List", ListPodResourcesResponse.FromString, deadline)
        except grpc.RpcError as error:
            raise KubeletError(f"{path}: {_message(error)}") from None
        try:
            parse = AllocatableResourcesResponse.FromString
            allocatable = _call(channel, "GetAllocatableResources", parse, deadline)
        except grpc.RpcError:
            # Missing before Kubernetes 1.23. It only helps to interpret core numbers.
            allocatable = AllocatableResourcesResponse()
    return _parse(listed, allocatable.devices)


def _check_socket(path: str) -> None:
    """Raise KubeletError if the socket cannot be connected to.

    gRPC's own message omits the reason or truncates it.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT)
        try:
            probe.connect(path)
        except FileNotFoundError:
            raise KubeletError(f"{path} does not exist: is its folder mounted?") from None
        except OSError as error:
            raise KubeletError(f"{path}: {error.strerror or error}") from None


def _call(channel: grpc.Channel, method: str, parse: Callable[[bytes], T], deadline: float) -> T:
    call = channel.unary_unary(
        f"/v1.PodResourcesLister/{method}",
        request_serializer=EmptyRequest.SerializeToString,
        response_deserializer=parse,
    )
    response: T = call(EmptyRequest(), timeout=max(0.01, deadline - time.monotonic()))
    return response


def _message(error: grpc.RpcError) -> str:
    # Errors of calls also have the methods of a call, which their type does not declare.
    code, details = error.code(), error.details()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {TIMEOUT:g} s"
    return f"{code.name}: {parse_text(details)}"


def _parse(
    listed: ListPodResourcesResponse, allocatable: Iterable[ContainerDevices]
) -> PodAllocations:
    cores: dict[int, Owner] = {}
    devices: dict[int, Owner] = {}
    resources: set[str] = set()
    unparsed: dict[str, None] = {}
    owners_of = {CORE_RESOURCE: cores, **dict.fromkeys(DEVICE_RESOURCES, devices)}
    for owner, name, ids in _entries(listed):
        resources.add(name)
        if name in owners_of:
            _assign(owners_of[name], (int(id) for id in ids if _NUMBER.fullmatch(id)), owner)
            unparsed |= {f"{name} {id!r}": None for id in ids if not _NUMBER.fullmatch(id)}
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


def _assign(owners: dict[int, Owner], numbers: Iterable[int], owner: Owner) -> None:
    """Set the owner of these numbers. One with two owners stays allocated, to an unknown owner."""
    for number in numbers:
        owners[number] = owner if owners.get(number, owner) == owner else NO_OWNER
