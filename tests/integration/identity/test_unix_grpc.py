"""Our gRPC client and a server in Go, as the kubelet is one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider
from neuron_exporter.identity.owners.pod_resources_pb2 import EmptyRequest, PodResources
from neuron_exporter.identity.owners.unix_grpc import CallError, call
from tests.support.containerd import Containerd, containerd_server

PATIENT = 60.0
VERSION = "/containerd.services.version.v1.Version/Version"
LIST = "/containerd.services.namespaces.v1.Namespaces/List"


@pytest.fixture(scope="module")
def containerd(
    tmp_path_factory: pytest.TempPathFactory, needs_containerd: None
) -> Iterator[Containerd]:
    """Run one containerd for this file."""
    with containerd_server(tmp_path_factory.mktemp("containerd")) as server:
        yield server


def test_answer(containerd: Containerd) -> None:
    """containerd's version and revision are the fields 1 and 2, as name and namespace are."""
    answer = call(containerd.socket, VERSION, EmptyRequest(), PodResources, PATIENT)
    assert answer.name[0].isdigit()
    assert answer.namespace


def test_large_answer(containerd: Containerd) -> None:
    """An answer larger than HTTP/2's initial window of 64 KiB arrives whole."""
    labels = [f"{number}={'x' * 4000}" for number in range(90)]
    subprocess.run(
        ["ctr", "--address", containerd.socket, "namespaces", "create", "labelled", *labels],
        check=True,
    )
    answer = call(containerd.socket, LIST, EmptyRequest(), EmptyRequest, PATIENT)
    assert answer.SerializeToString().count(b"x" * 4000) == 90


def test_unknown_service(containerd: Containerd) -> None:
    """The provider reports the error of a server that is not a kubelet."""
    result = KubeletOwnerProvider(containerd.socket).lookup(frozenset())
    unknown = "UNIMPLEMENTED: unknown service v1.PodResourcesLister"
    assert result.error == f"{containerd.socket}: {unknown}"


def test_no_answer_before_the_timeout(containerd: Containerd) -> None:
    """A method that waits for events is given up, and the next call is answered."""
    subscribe = "/containerd.services.events.v1.Events/Subscribe"
    began = time.monotonic()
    with pytest.raises(CallError, match=r"no answer within 0\.3 s"):
        call(containerd.socket, subscribe, EmptyRequest(), EmptyRequest, 0.3)
    assert time.monotonic() - began >= 0.3
    call(containerd.socket, VERSION, EmptyRequest(), EmptyRequest, PATIENT)


def test_stopped_and_restarted_server(tmp_path: Path, needs_containerd: None) -> None:
    """A stopped process is given up, a restarted one is found again, also after a SIGKILL."""
    with containerd_server(tmp_path) as first:
        first.process.send_signal(signal.SIGSTOP)
        with pytest.raises(CallError, match=r"no answer within 0\.3 s"):
            call(first.socket, VERSION, EmptyRequest(), EmptyRequest, 0.3)
    with pytest.raises(CallError, match="Connection refused"):
        call(first.socket, VERSION, EmptyRequest(), EmptyRequest, PATIENT)
    Path(first.socket).unlink()
    with containerd_server(tmp_path) as second:
        call(second.socket, VERSION, EmptyRequest(), EmptyRequest, PATIENT)
