"""Which pod was given which cores and devices, by the kubelet's pod-resources API.

It is gRPC over a unix socket without TLS. The ids of devices are the device plugin's own, and no
form of them is promised; those of Neuron's plugin are plain numbers.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import grpc

from neuron_exporter.identity.fields import text
from neuron_exporter.identity.owners.pod_resources_pb2 import (
    AllocatableResourcesResponse,
    ContainerDevices,
    ListPodResourcesResponse,
    Nothing,
)
from neuron_exporter.identity.owners.resolver import REFRESH, Told
from neuron_exporter.model import NOBODY, Allocation, Owner, Owners

SECONDS = 1.0
"""All of a question."""

CORES = "aws.amazon.com/neuroncore"
DEVICES = ("aws.amazon.com/neuron", "aws.amazon.com/neurondevice")
"""What Neuron's device plugin offers; the last name is deprecated."""

DRA_DRIVER = "neuron.aws.com"

_NUMBER = re.compile(r"[0-9]{1,4}")
_MOST_UNREADABLE = 5
_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
_OURS = "aws.amazon.com/neuron"
_OPTIONS = (
    # Of a socket's path gRPC makes a name of the host that the kubelet's server refuses.
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", 16 << 20),  # the kubelet's own bound
    ("grpc.enable_http_proxy", 0),
)

T = TypeVar("T")


class NoKubelet(Exception):
    """The kubelet did not answer; the text says what happened instead."""


class Answer(NamedTuple):
    """What the kubelet told: what was given to pods, and every resource's name that was seen."""

    allocation: Allocation
    resources: frozenset[str]
    unreadable: tuple[str, ...]


class KubeletOwners:
    """Asks the kubelet. What it said last counts for two rounds in which it says nothing."""

    name = "kubelet"

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._last: Allocation | None = None
        self._until = 0.0

    def ask(self, pids: frozenset[int]) -> Told:
        """Whose cores and devices are; the kubelet knows no processes."""
        try:
            answer = ask(self._path)
        except NoKubelet as error:
            if self._clock() >= self._until:
                self._last = None
            return Told(Owners(allocation=self._last), str(error))
        self._last = answer.allocation
        self._until = self._clock() + 2 * REFRESH
        why = ", ".join(f"{each} is not understood" for each in answer.unreadable)
        return Told(Owners(allocation=self._last), why, ", ".join(sorted(answer.resources)))


def ask(path: str) -> Answer:
    """Everything that was given to pods.

    Raises:
        NoKubelet: there is no answer.
    """
    until = time.monotonic() + SECONDS
    _knock(path)
    # A channel of its own for each round: one that has failed waits before it connects again.
    with grpc.insecure_channel(f"unix://{path}", _OPTIONS) as channel:
        try:
            listed = _call(channel, "List", ListPodResourcesResponse.FromString, until)
        except grpc.RpcError as error:
            raise NoKubelet(f"{path}: {_said(error)}") from None
        try:
            read = AllocatableResourcesResponse.FromString
            offered = _call(channel, "GetAllocatableResources", read, until)
        except grpc.RpcError:
            # Not before Kubernetes 1.23. It only helps to read numbers.
            offered = AllocatableResourcesResponse()
    return _read(listed, offered.devices)


def _knock(path: str) -> None:
    """Why nobody can be reached there is lost in gRPC's words, or cut off their end."""
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(SECONDS)
        try:
            trial.connect(path)
        except FileNotFoundError:
            raise NoKubelet(f"{path} is not there: is its folder mounted?") from None
        except OSError as error:
            raise NoKubelet(f"{path}: {error.strerror or error}") from None


def _call(channel: grpc.Channel, method: str, read: Callable[[bytes], T], until: float) -> T:
    call = channel.unary_unary(
        f"/v1.PodResourcesLister/{method}",
        request_serializer=Nothing.SerializeToString,
        response_deserializer=read,
    )
    answer: T = call(Nothing(), timeout=max(0.01, until - time.monotonic()))
    return answer


def _said(error: grpc.RpcError) -> str:
    # Every error of a call is a call as well, which its type does not say.
    code, details = error.code(), error.details()
    return f"no answer within {SECONDS:g} s" if code is _LATE else f"{code.name}: {text(details)}"


def _read(listed: ListPodResourcesResponse, offered: Iterable[ContainerDevices]) -> Answer:
    cores: dict[int, Owner] = {}
    devices: dict[int, Owner] = {}
    seen: set[str] = set()
    unreadable: dict[str, None] = {}
    for owner, name, ids in _given(listed):
        seen.add(name)
        numbers = [int(id) for id in ids if _NUMBER.fullmatch(id)]
        if name == CORES:
            _give(cores, numbers, owner)
        elif name in DEVICES:
            _give(devices, numbers, owner)
        elif name.startswith((_OURS, DRA_DRIVER)):
            unreadable[f"resource {name}"] = None
        if name in (CORES, *DEVICES):
            unreadable |= {f"{name} {id!r}": None for id in ids if not _NUMBER.fullmatch(id)}
    ids = [id for each in offered if each.resource_name == CORES for id in each.device_ids]
    highest = max((int(id) for id in ids if _NUMBER.fullmatch(id)), default=None)
    return Answer(
        Allocation(cores, devices, highest, is_whole=not unreadable),
        frozenset(seen),
        tuple(unreadable)[:_MOST_UNREADABLE],
    )


def _given(listed: ListPodResourcesResponse) -> Iterator[tuple[Owner, str, Iterable[str]]]:
    """Owners, and the names and ids of what they were given."""
    for pod in listed.pod_resources:
        for container in pod.containers:
            owner = Owner(text(pod.namespace), text(pod.name), text(container.name))
            for each in container.devices:
                yield owner, text(each.resource_name), each.device_ids
            for dynamic in container.dynamic_resources:
                for claim in dynamic.claim_resources:
                    yield owner, text(claim.driver_name), (claim.device_name,)


def _give(owners: dict[int, Owner], numbers: Iterable[int], owner: Owner) -> None:
    """What two have is known to be given, and not to whom."""
    for number in numbers:
        owners[number] = owner if owners.get(number, owner) == owner else NOBODY
