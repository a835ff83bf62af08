"""Owners from the kubelet, queried from a real gRPC server on a unix socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from grpclib.const import Status

from neuron_exporter.identity.owners import kubelet as provider_module
from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider
from neuron_exporter.identity.owners.lookup import REFRESH_INTERVAL
from neuron_exporter.model import NO_OWNER, Allocation, Owner
from tests.support.kubelet import CORE, DEVICE, PodClaim, PodResource, kubelet_server, listening

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


def test_unsupported_names_are_shortened(tmp_path: Path) -> None:
    with kubelet_server(
        tmp_path,
        PodResource("a", CORE, [f"{number}" + "x" * 100_000 for number in range(20)]),
        PodResource("b", "aws.amazon.com/neuron" + "x" * 100_000, ["0"]),
    ) as kubelet:
        allocation, error = lookup(kubelet.socket)
        assert allocation == Allocation({}, {}, None, is_complete=False)
        assert error.startswith("aws.amazon.com/neuroncore '0xxx")
        assert len(error) < 1000


def test_unsupported_resources(tmp_path: Path) -> None:
    """Unknown resources and drivers, and ids and device names of an unknown form, are reported."""
    with kubelet_server(
        tmp_path,
        PodResource("a", "aws.amazon.com/neuronlink", ["0"]),
        PodResource("b", CORE, ["core-7", -1, 2]),
        PodClaim("c", ["neuron-node-0", "neurondevice", "neuron-device-1-core-2"]),
        PodClaim("d", ["neuron-device-0"], driver="neuron.aws.com.example"),
    ) as kubelet:
        allocation, error = lookup(kubelet.socket)
        assert allocation == Allocation({2: owner("b")}, {}, None, is_complete=False)
        assert error == (
            "resource aws.amazon.com/neuronlink is not supported, "
            "aws.amazon.com/neuroncore 'core-7' is not supported, "
            "aws.amazon.com/neuroncore '-1' is not supported, "
            "neuron.aws.com 'neuron-node-0' is not supported, "
            "neuron.aws.com 'neurondevice' is not supported"
        ), "the first five"


@pytest.mark.parametrize("form", ["neurondevice{}", "neuron-device-{}"])
def test_claimed_devices(tmp_path: Path, form: str) -> None:
    """Both forms of the names that Neuron's DRA driver uses are device numbers."""
    with kubelet_server(
        tmp_path,
        PodClaim("train", [form.format(2), form.format(10)]),
        PodClaim("other", ["gpu-0", "neuron-device-3"], driver="gpu.nvidia.com"),
    ) as kubelet:
        devices = {2: owner("train"), 10: owner("train")}
        assert lookup(kubelet.socket) == (Allocation({}, devices, None), "")


def test_claim_of_two_containers(tmp_path: Path) -> None:
    """Devices of a claim that two containers of a pod share belong to the pod."""
    with kubelet_server(
        tmp_path,
        PodClaim("train", ["neuron-device-0"], containers=("a", "b", "c")),
        PodClaim("infer", ["neuron-device-1"], containers=("a",)),
    ) as kubelet:
        devices = {0: owner("train", container=""), 1: owner("infer", "a")}
        assert lookup(kubelet.socket) == (Allocation({}, devices, None), "")


def test_claim_of_two_pods(tmp_path: Path) -> None:
    """A device that two pods share is allocated, and none of them is its owner."""
    with kubelet_server(
        tmp_path,
        PodClaim("a", ["neuron-device-0"]),
        PodClaim("b", ["neuron-device-0"], containers=("one", "two")),
    ) as kubelet:
        assert lookup(kubelet.socket) == (Allocation({}, {0: NO_OWNER}, None), "")


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
        "import os, sys; from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider; "
        "os.setgroups([]); os.setuid(65534); "
        "print(KubeletOwnerProvider(sys.argv[1]).lookup(frozenset()).error)"
    )
    with kubelet_server(tmp_path, PodResource("a", CORE, [0])) as kubelet:
        kubelet.socket.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        done = subprocess.run(
            [sys.executable, "-c", program, str(kubelet.socket)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == f"{kubelet.socket}: Permission denied\n"


def test_grpc_error(tmp_path: Path) -> None:
    with kubelet_server(tmp_path) as kubelet:
        kubelet.error_code = Status.RESOURCE_EXHAUSTED
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
        kubelet.error_code = Status.UNAVAILABLE
        known = []
        for _ in range(3):
            now[0] += REFRESH_INTERVAL
            known.append(provider.lookup(NO_PIDS).owners.allocation is not None)
    assert known == [True, False, False]
