"""The kubelet's pod-resources API: a real gRPC server on a unix socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from neuron_exporter.identity.owners.pod_resources_pb2 import (
    AllocatableResourcesResponse,
    ClaimResource,
    ContainerDevices,
    ContainerResources,
    DynamicResource,
    EmptyRequest,
    ListPodResourcesResponse,
    PodResources,
)

CORE, DEVICE = "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
SERVICE = "/v1.PodResourcesLister"


class PodResource(NamedTuple):
    """A resource that is allocated to one container of a pod."""

    pod: str
    resource: str
    ids: Sequence[object]
    namespace: str = "ml"
    container: str = "main"


class PodClaim(NamedTuple):
    """A resource claim whose devices the containers of a pod share."""

    pod: str
    devices: Sequence[str]
    namespace: str = "ml"
    containers: Sequence[str] = ("main",)
    driver: str = "neuron.aws.com"


class KubeletServer:
    """Configurable responses, and the number of List calls. If it `hangs`, calls never return."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.allocated: Sequence[PodResource | PodClaim] = ()
        self.allocatable: Mapping[str, Sequence[object]] | None = {}
        self.calls = 0
        self.hangs = False
        self.error_code: Status | None = None

    def __mapping__(self) -> Mapping[str, Handler]:
        """Return the methods, as grpclib's server calls them."""
        unary = Cardinality.UNARY_UNARY
        listed, allocatable = ListPodResourcesResponse, AllocatableResourcesResponse
        return {
            f"{SERVICE}/List": Handler(self._list, unary, EmptyRequest, listed),
            f"{SERVICE}/GetAllocatableResources": Handler(
                self._get_allocatable, unary, EmptyRequest, allocatable
            ),
        }

    async def _list(self, stream: Stream[EmptyRequest, ListPodResourcesResponse]) -> None:
        """Return every pod with its resources."""
        self.calls += 1
        await stream.recv_message()
        if self.hangs:
            await asyncio.Event().wait()  # until the client or the server closes the connection
        if self.error_code is not None:
            raise GRPCError(self.error_code, "not now")
        pods = [
            _claiming_pod(each) if isinstance(each, PodClaim) else _pod(each)
            for each in self.allocated
        ]
        await stream.send_message(ListPodResourcesResponse(pod_resources=pods))

    async def _get_allocatable(
        self, stream: Stream[EmptyRequest, AllocatableResourcesResponse]
    ) -> None:
        """Return all resources of the node, or UNIMPLEMENTED as older kubelets do."""
        await stream.recv_message()
        if self.allocatable is None:
            raise GRPCError(Status.UNIMPLEMENTED, "unknown method")
        devices = [
            ContainerDevices(resource_name=name, device_ids=list(map(str, ids)))
            for name, ids in self.allocatable.items()
        ]
        await stream.send_message(AllocatableResourcesResponse(devices=devices))


def _pod(allocated: PodResource) -> PodResources:
    devices = ContainerDevices(
        resource_name=allocated.resource, device_ids=list(map(str, allocated.ids))
    )
    container = ContainerResources(name=allocated.container, devices=[devices])
    return PodResources(name=allocated.pod, namespace=allocated.namespace, containers=[container])


def _claiming_pod(claim: PodClaim) -> PodResources:
    """Return a pod as the kubelet reports it, with the fields that the exporter does not read."""
    devices = [ClaimResource(driver_name=claim.driver, device_name=name) for name in claim.devices]
    for device, name in zip(devices, claim.devices, strict=True):
        _add_text(device, 1, f"\n{chr(len(name))}{name}")  # cdi_devices
        _add_text(device, 3, "ip-10-0-0-1.ec2.internal")  # pool_name
    dynamic = DynamicResource(claim_resources=devices)
    _add_text(dynamic, 2, f"{claim.pod}-devices-7x2lq")  # claim_name
    _add_text(dynamic, 3, claim.namespace)  # claim_namespace
    containers = [
        ContainerResources(name=name, dynamic_resources=[dynamic]) for name in claim.containers
    ]
    return PodResources(name=claim.pod, namespace=claim.namespace, containers=containers)


def _add_text(message: Message, number: int, text: str) -> None:
    """Add a field that the minimal .proto file lacks."""
    message.MergeFromString(bytes([number << 3 | 2, len(text)]) + text.encode())


@contextmanager
def kubelet_server(folder: Path, *allocated: PodResource | PodClaim) -> Iterator[KubeletServer]:
    """Run a kubelet in this folder; its socket is removed afterwards."""
    kubelet = KubeletServer(folder / "kubelet.sock")
    kubelet.allocated = allocated
    with listening(kubelet):
        yield kubelet


@contextmanager
def listening(kubelet: KubeletServer) -> Iterator[None]:
    """Run the gRPC server of a kubelet; may be repeated, as after a restart."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kubelet")
    thread.start()
    try:
        with _serving(kubelet, loop):
            yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        kubelet.socket.unlink(missing_ok=True)


@contextmanager
def _serving(kubelet: KubeletServer, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    async def start() -> Server:
        server = Server([kubelet])
        await server.start(path=str(kubelet.socket))
        return server

    async def stop(server: Server) -> None:
        server.close()
        await server.wait_closed()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    server = run(start())
    try:
        yield
    finally:
        run(stop(server))
