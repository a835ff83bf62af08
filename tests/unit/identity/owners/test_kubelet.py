"""Owners from the kubelet, queried from a real gRPC server on a unix socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from neuron_exporter.identity.owners import kubelet as provider_module
from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider
from neuron_exporter.identity.owners.lookup import REFRESH_INTERVAL
from neuron_exporter.identity.owners.pod_resources_pb2 import (
    ClaimResource,
    ContainerResources,
    DynamicResource,
)
from neuron_exporter.model import NO_OWNER, Allocation, Owner
from tests.support.kubelet import CORE, DEVICE, PodResource, kubelet_server, listening

NO_PIDS: frozenset[int] = frozenset()


@pytest.fixture(autouse=True)
def _long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lookups succeed on a busy machine."""
    monkeypatch.setattr(provider_module, "TIMEOUT", 30.0)


@pytest.fixture
def short_timeout(_long_timeout: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lookups fail soon."""
    monkeypatch.setattr(provider_module, "TIMEOUT", 0.5)


def owner(pod: str, container: str = "main") -> Owner:
    """Return a pod of the namespace `ml`."""
    return Owner(namespace="ml", pod=pod, container=container)


def lookup(socket: Path) -> tuple[Allocation | None, str]:
    """Return allocation and error of one lookup."""
    result = KubeletOwnerProvider(str(socket)).lookup(NO_PIDS)
    return result.owners.allocation, result.error


def test_allocations(tmp_path: Path) -> None:
    """Both resources of Neuron's device plugin are read, and the deprecated name."""
    allocated = [
        PodResource("train", DEVICE, [3, 10]),
        PodResource("infer", CORE, [0, 1], container="model"),
        PodResource("old", "aws.amazon.com/neurondevice", [4]),
        PodResource("other", "nvidia.com/gpu", ["GPU-0"]),
    ]
    with kubelet_server(tmp_path, *allocated) as kubelet:
        kubelet.allocatable = {CORE: range(24), DEVICE: range(12), "nvidia.com/gpu": ["GPU-0"]}
        assert lookup(kubelet.socket) == (
            Allocation(
                {0: owner("infer", "model"), 1: owner("infer", "model")},
                {3: owner("train"), 10: owner("train"), 4: owner("old")},
                23,
            ),
            "",
        )


def test_no_allocations(tmp_path: Path) -> None:
    """A node without workloads is not an error: every core is free."""
    with kubelet_server(tmp_path) as kubelet:
        assert lookup(kubelet.socket) == (Allocation({}, {}, None), "")


def test_large_response(tmp_path: Path) -> None:
    with kubelet_server(
        tmp_path, *(PodResource(f"p{n:0>1000}", CORE, [n]) for n in range(500))
    ) as kubelet:
        allocation, error = lookup(kubelet.socket)
        assert allocation is not None
        assert len(allocation.cores) == 500
        assert error == ""


def test_older_kubelet(tmp_path: Path) -> None:
    """Before Kubernetes 1.23 the allocatable resources are unknown."""
    with kubelet_server(tmp_path, PodResource("train", CORE, [0])) as kubelet:
        kubelet.allocatable = None
        assert lookup(kubelet.socket) == (Allocation({0: owner("train")}, {}, None), "")


def test_device_with_two_owners(tmp_path: Path) -> None:
    """The device is allocated, but its owner is unknown."""
    with kubelet_server(
        tmp_path, PodResource("a", DEVICE, [0]), PodResource("b", DEVICE, [0])
    ) as kubelet:
        allocation, _ = lookup(kubelet.socket)
        assert allocation is not None
        assert allocation.devices == {0: NO_OWNER}


def test_unsupported_resources(tmp_path: Path) -> None:
    """Unknown resources, non-numeric ids and DRA claims are reported."""
    claimed = ContainerResources(
        name="main",
        dynamic_resources=[
            DynamicResource(
                claim_resources=[ClaimResource(driver_name="neuron.aws.com", device_name="x")]
            )
        ],
    )
    with kubelet_server(
        tmp_path,
        PodResource("a", "aws.amazon.com/neuronlink", ["0"]),
        PodResource("b", CORE, ["core-7", -1, 2]),
    ) as kubelet:
        kubelet.extra = [claimed]
        allocation, error = lookup(kubelet.socket)
        assert allocation == Allocation({2: owner("b")}, {}, None, is_complete=False)
        assert error == (
            "resource aws.amazon.com/neuronlink is not supported, "
            "aws.amazon.com/neuroncore 'core-7' is not supported, "
            "aws.amazon.com/neuroncore '-1' is not supported, "
            "resource neuron.aws.com is not supported"
        )


# What goes wrong


def test_missing_socket(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert lookup(path) == (None, f"{path} does not exist: is its folder mounted?")


@pytest.mark.usefixtures("short_timeout")
def test_hanging_kubelet(tmp_path: Path) -> None:
    with kubelet_server(tmp_path) as kubelet:
        kubelet.hangs = True
        assert lookup(kubelet.socket) == (None, f"{kubelet.socket}: no answer within 0.5 s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")
def test_permission_denied(tmp_path: Path) -> None:
    program = (
        "import sys; from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider; "
        "print(KubeletOwnerProvider(sys.argv[1]).lookup(frozenset()).error)"
    )
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        kubelet.socket.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", program,
             str(kubelet.socket)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.stdout == f"{kubelet.socket}: Permission denied\n"


@contextmanager
def other_server(path: Path, data: bytes) -> Iterator[None]:
    """Run a server that is not a kubelet."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        connections: list[socket.socket] = []

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                with suppress(OSError):  # who only knocked has gone
                    connection.sendall(data)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100])
def test_other_server_at_socket(tmp_path: Path, data: bytes) -> None:
    """Silence and garbage end the lookup, and the error names the socket."""
    path = tmp_path / "kubelet.sock"
    with other_server(path, data):
        allocation, error = lookup(path)
    assert allocation is None
    assert error.startswith(f"{path}: ")


def test_grpc_error(tmp_path: Path) -> None:
    with kubelet_server(tmp_path) as kubelet:
        kubelet.error_code = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert lookup(kubelet.socket) == (None, f"{kubelet.socket}: RESOURCE_EXHAUSTED: not now")


def test_kubelet_restart(tmp_path: Path) -> None:
    """The last allocation stays valid while the kubelet is away."""
    now = [0.0]
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        provider = KubeletOwnerProvider(str(kubelet.socket), clock=lambda: now[0])
        first = provider.lookup(NO_PIDS).owners.allocation
    now[0] += REFRESH_INTERVAL
    away = provider.lookup(NO_PIDS)
    assert away.owners.allocation == first
    assert away.error.endswith("is its folder mounted?")
    kubelet.allocated = [PodResource("b", CORE, [0])]
    with listening(kubelet):
        back = provider.lookup(NO_PIDS)
    assert back.error == ""
    assert back.owners.allocation == Allocation({0: owner("b")}, {}, None)


def test_allocation_expires(tmp_path: Path) -> None:
    now = [0.0]
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        provider = KubeletOwnerProvider(str(kubelet.socket), clock=lambda: now[0])
        provider.lookup(NO_PIDS)
        kubelet.error_code = grpc.StatusCode.UNAVAILABLE
        known = []
        for _ in range(3):
            now[0] += REFRESH_INTERVAL
            known.append(provider.lookup(NO_PIDS).owners.allocation is not None)
    assert known == [True, False, False]
