"""A kubelet as far as its pod-resources API goes: a real gRPC server on a unix socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from neuron_exporter.identity.owners.pod_resources_pb2 import (
    AllocatableResourcesResponse,
    ContainerDevices,
    ContainerResources,
    ListPodResourcesResponse,
    Nothing,
    PodResources,
)

CORE, DEVICE = "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
SERVICE = "v1.PodResourcesLister"


class Given(NamedTuple):
    """What a container of a pod was given."""

    pod: str
    resource: str
    ids: Sequence[object]
    namespace: str = "ml"
    container: str = "main"


class Kubelet:
    """What it answers, and how often it was asked. `is_silent` keeps every question waiting."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.given: Sequence[Given] = ()
        self.offered: Mapping[str, Sequence[object]] | None = {}
        self.extra: Sequence[ContainerResources] = ()
        self.asked = 0
        self.is_silent = False
        self.refuse: grpc.StatusCode | None = None
        self.closing = threading.Event()

    def list(self, _: object, context: grpc.ServicerContext) -> ListPodResourcesResponse:
        """Every pod with what it has."""
        self.asked += 1
        if self.is_silent:
            self.closing.wait()
        if self.refuse is not None:
            context.abort(self.refuse, "not now")
        pods = [
            PodResources(
                name=each.pod,
                namespace=each.namespace,
                containers=[
                    ContainerResources(
                        name=each.container,
                        devices=[
                            ContainerDevices(
                                resource_name=each.resource, device_ids=list(map(str, each.ids))
                            )
                        ],
                    )
                ],
            )
            for each in self.given
        ]
        if self.extra:
            pods.append(PodResources(name="extra", namespace="ml", containers=self.extra))
        return ListPodResourcesResponse(pod_resources=pods)

    def allocatable(self, _: object, context: grpc.ServicerContext) -> AllocatableResourcesResponse:
        """Everything that the device plugins offer; older kubelets do not know the question."""
        if self.offered is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
        return AllocatableResourcesResponse(
            devices=[
                ContainerDevices(resource_name=name, device_ids=list(map(str, ids)))
                for name, ids in (self.offered or {}).items()
            ]
        )


def _handler(method: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=Nothing.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


@contextmanager
def kubelet(folder: Path, *given: Given) -> Iterator[Kubelet]:
    """A kubelet that listens; its socket is gone afterwards."""
    played = Kubelet(folder / "kubelet.sock")
    played.given = given
    with listening(played):
        yield played


@contextmanager
def listening(played: Kubelet) -> Iterator[None]:
    """Have it listen for a while, as a new process would."""
    methods = {
        "List": _handler(played.list),
        "GetAllocatableResources": _handler(played.allocatable),
    }
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix://{played.socket}")
    server.start()
    try:
        yield
    finally:
        played.closing.set()
        server.stop(None).wait()
        pool.shutdown()
        played.closing.clear()
        played.socket.unlink(missing_ok=True)
