"""What the kubelet tells of cores and devices, asked of a real gRPC server on a unix socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from neuron_exporter.identity.owners.kubelet import SECONDS, KubeletOwners
from neuron_exporter.identity.owners.pod_resources_pb2 import (
    ClaimResource,
    ContainerResources,
    DynamicResource,
)
from neuron_exporter.identity.owners.resolver import REFRESH
from neuron_exporter.model import NOBODY, Allocation, Owner
from tests.support.kubelet import CORE, DEVICE, Given, kubelet, listening

NO_PIDS: frozenset[int] = frozenset()


def owner(pod: str, container: str = "main") -> Owner:
    """A pod of the namespace `ml`."""
    return Owner(namespace="ml", pod=pod, container=container)


def told(socket: Path) -> tuple[Allocation | None, str]:
    """What is known after one question, and why not more is."""
    answer = KubeletOwners(str(socket)).ask(NO_PIDS)
    return answer.owners.allocation, answer.why


def test_cores_and_devices_are_their_pods(tmp_path: Path) -> None:
    """Both resources of Neuron's device plugin are read, the deprecated name, too, and what others
    offer is not."""
    given = [
        Given("train", DEVICE, [3, 10]),
        Given("infer", CORE, [0, 1], container="model"),
        Given("old", "aws.amazon.com/neurondevice", [4]),
        Given("other", "nvidia.com/gpu", ["GPU-0"]),
    ]
    with kubelet(tmp_path, *given) as played:
        played.offered = {CORE: range(24), DEVICE: range(12), "nvidia.com/gpu": ["GPU-0"]}
        assert told(played.socket) == (
            Allocation(
                {0: owner("infer", "model"), 1: owner("infer", "model")},
                {3: owner("train"), 10: owner("train"), 4: owner("old")},
                23,
            ),
            "",
        )


def test_nothing_given_is_known_to_be_nothing(tmp_path: Path) -> None:
    """A node without workloads is no failure: every core is free."""
    with kubelet(tmp_path) as played:
        assert told(played.socket) == (Allocation({}, {}, None), "")


def test_five_hundred_pods_are_read(tmp_path: Path) -> None:
    """An answer of half a megabyte and more is taken whole."""
    with kubelet(tmp_path, *(Given(f"p{n:0>1000}", CORE, [n]) for n in range(500))) as played:
        allocation, why = told(played.socket)
        assert allocation is not None
        assert len(allocation.cores) == 500
        assert why == ""


def test_an_older_kubelet_tells_less(tmp_path: Path) -> None:
    """Before Kubernetes 1.23 nobody tells what could be given; what is given is known."""
    with kubelet(tmp_path, Given("train", CORE, [0])) as played:
        played.offered = None
        assert told(played.socket) == (Allocation({0: owner("train")}, {}, None), "")


def test_what_two_pods_have_is_neithers(tmp_path: Path) -> None:
    """It is known to be given, and not to whom."""
    with kubelet(tmp_path, Given("a", DEVICE, [0]), Given("b", DEVICE, [0])) as played:
        allocation, _ = told(played.socket)
        assert allocation is not None
        assert allocation.devices == {0: NOBODY}


def test_what_is_not_understood_is_named(tmp_path: Path) -> None:
    """A resource or an id of another form, and devices that were claimed (DRA), name nobody and are
    said."""
    claimed = ContainerResources(
        name="main",
        dynamic_resources=[
            DynamicResource(
                claim_resources=[ClaimResource(driver_name="neuron.aws.com", device_name="x")]
            )
        ],
    )
    with kubelet(
        tmp_path,
        Given("a", "aws.amazon.com/neuronlink", ["0"]),
        Given("b", CORE, ["core-7", -1, 2]),
    ) as played:
        played.extra = [claimed]
        allocation, why = told(played.socket)
        assert allocation == Allocation({2: owner("b")}, {}, None, is_whole=False)
        assert why == (
            "resource aws.amazon.com/neuronlink is not understood, "
            "aws.amazon.com/neuroncore 'core-7' is not understood, "
            "aws.amazon.com/neuroncore '-1' is not understood, "
            "resource neuron.aws.com is not understood"
        )


# What goes wrong


def test_a_socket_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Most often its folder is not mounted."""
    path = tmp_path / "kubelet.sock"
    assert told(path) == (None, f"{path} is not there: is its folder mounted?")


def test_a_kubelet_that_hangs_is_left_after_a_second(tmp_path: Path) -> None:
    """One question never takes longer."""
    with kubelet(tmp_path) as played:
        played.is_silent = True
        began = time.monotonic()
        assert told(played.socket) == (None, f"{played.socket}: no answer within 1 s")
        assert time.monotonic() - began < SECONDS + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_that_we_may_not_open_is_said(tmp_path: Path) -> None:
    """The kubelet's socket is root's: another user learns that, and that is all."""
    program = (
        "import sys; from neuron_exporter.identity.owners.kubelet import KubeletOwners; "
        "print(KubeletOwners(sys.argv[1]).ask(frozenset()).why)"
    )
    with kubelet(tmp_path, Given("a", CORE, [0])) as played:
        played.socket.chmod(0o600)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", program,
             str(played.socket)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.stdout == f"{played.socket}: Permission denied\n"


@contextmanager
def _somebody_else(path: Path, says: bytes) -> Iterator[None]:
    """Somebody who listens there and is no kubelet."""
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
                    connection.sendall(says)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100])
def test_somebody_else_at_the_socket_is_no_kubelet(tmp_path: Path, says: bytes) -> None:
    """Silence and garbage end within the same second, and name the socket."""
    path = tmp_path / "kubelet.sock"
    began = time.monotonic()
    with _somebody_else(path, says):
        allocation, why = told(path)
    assert allocation is None
    assert why.startswith(f"{path}: ")
    assert time.monotonic() - began < SECONDS + 1


def test_a_refusal_says_why(tmp_path: Path) -> None:
    """The kubelet's own words are passed on."""
    with kubelet(tmp_path) as played:
        played.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told(played.socket) == (None, f"{played.socket}: RESOURCE_EXHAUSTED: not now")


def test_a_kubelet_that_restarts_is_found_again(tmp_path: Path) -> None:
    """What it said holds while it is away, and the new one is asked at once."""
    now = [0.0]
    with kubelet(tmp_path, Given("a", CORE, [0])) as played:
        asks = KubeletOwners(str(played.socket), clock=lambda: now[0])
        first = asks.ask(NO_PIDS).owners.allocation
    now[0] += REFRESH
    away = asks.ask(NO_PIDS)
    assert away.owners.allocation == first
    assert away.why.endswith("is its folder mounted?")
    played.given = [Given("b", CORE, [0])]
    with listening(played):
        back = asks.ask(NO_PIDS)
    assert back.why == ""
    assert back.owners.allocation == Allocation({0: owner("b")}, {}, None)


def test_a_kubelet_that_stays_away_is_not_believed_for_ever(tmp_path: Path) -> None:
    """After two rounds without an answer nobody is named: unknown is better than wrong."""
    now = [0.0]
    with kubelet(tmp_path, Given("a", CORE, [0])) as played:
        asks = KubeletOwners(str(played.socket), clock=lambda: now[0])
        asks.ask(NO_PIDS)
        played.refuse = grpc.StatusCode.UNAVAILABLE
        known = []
        for _ in range(3):
            now[0] += REFRESH
            known.append(asks.ask(NO_PIDS).owners.allocation is not None)
    assert known == [True, False, False]
