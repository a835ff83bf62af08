"""The kubelet's pod-resources API: a real gRPC server on a unix socket."""

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
    EmptyRequest,
    ListPodResourcesResponse,
    PodResources,
)

CORE, DEVICE = "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
SERVICE = "v1.PodResourcesLister"


class PodResource(NamedTuple):
    """A resource that is allocated to one container of a pod."""

    pod: str
    resource: str
    ids: Sequence[object]
    namespace: str = "ml"
    container: str = "main"


class KubeletServer:
    """Configurable responses, and the number of List calls. If it `hangs`, calls never return."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.allocated: Sequence[PodResource] = ()
        self.allocatable: Mapping[str, Sequence[object]] | None = {}
        self.extra: Sequence[ContainerResources] = ()
        self.calls = 0
        self.hangs = False
        self.error_code: grpc.StatusCode | None = None
        self.closing = threading.Event()

    def handle_list(self, _: object, context: grpc.ServicerContext) -> ListPodResourcesResponse:
        """Return every pod with its resources."""
        self.calls += 1
        if self.hangs:
            self.closing.wait()
        if self.error_code is not None:
            context.abort(self.error_code, "not now")
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
            for each in self.allocated
        ]
        if self.extra:
            pods.append(PodResources(name="extra", namespace="ml", containers=self.extra))
        return ListPodResourcesResponse(pod_resources=pods)

    def handle_allocatable(
        self, _: object, context: grpc.ServicerContext
    ) -> AllocatableResourcesResponse:
        """Return all resources of the node, or UNIMPLEMENTED as older kubelets do."""
        if self.allocatable is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
        return AllocatableResourcesResponse(
            devices=[
                ContainerDevices(resource_name=name, device_ids=list(map(str, ids)))
                for name, ids in (self.allocatable or {}).items()
            ]
        )


def _handler(method: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=EmptyRequest.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


@contextmanager
def kubelet_server(folder: Path, *allocated: PodResource) -> Iterator[KubeletServer]:
    """Run a kubelet in this folder; its socket is removed afterwards."""
    kubelet = KubeletServer(folder / "kubelet.sock")
    kubelet.allocated = allocated
    with listening(kubelet):
        yield kubelet


@contextmanager
def listening(kubelet: KubeletServer) -> Iterator[None]:
    """Run the gRPC server of a kubelet; may be repeated, as after a restart."""
    methods = {
        "List": _handler(kubelet.handle_list),
        "GetAllocatableResources": _handler(kubelet.handle_allocatable),
    }
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix://{kubelet.socket}")
    server.start()
    try:
        yield
    finally:
        kubelet.closing.set()
        server.stop(None).wait()
        pool.shutdown()
        kubelet.closing.clear()
        kubelet.socket.unlink(missing_ok=True)
