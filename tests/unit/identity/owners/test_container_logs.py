"""Pods of processes, from cgroups and the names of container logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.identity.owners.container_logs import ContainerLogProvider
from neuron_exporter.model import Owner
from tests.support.cgroups import process_in

ID, OTHER = "1" * 64, "2" * 64
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
TRAIN = Owner(namespace="ml", pod="train-0", container="main")


class Node:
    """A folder in place of /proc, and one in place of /var/log/containers."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.logs = folder / "containers"
        self.proc.mkdir()
        self.logs.mkdir()

    def add_process(self, pid: int, cgroup: str) -> None:
        """Add a process in this cgroup."""
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")

    def add_log(self, name: str) -> None:
        """Add a log link of this name; its target need not exist."""
        (self.logs / name).symlink_to("/var/log/pods/elsewhere/0.log")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without processes and logs."""
    return Node(tmp_path)


def cgroup_of(container: str) -> str:
    """Return the cgroup path that containerd uses for a container."""
    slice = f"kubepods-pod{UID.replace('-', '_')}.slice"
    return f"/kubepods.slice/{slice}/cri-containerd-{container}.scope"


def test_pod_of_process(node: Node) -> None:
    """Names of pods and containers may contain dashes, names of pods also dots."""
    node.add_process(10, cgroup_of(ID))
    node.add_process(11, cgroup_of(OTHER))
    node.add_process(12, "/system.slice/kubelet.service")
    node.add_log(f"train-0_ml_main-{ID}.log")
    node.add_log(f"a.b-c_kube-system_side-car-2-{OTHER}.log")
    node.add_log("README")
    result = ContainerLogProvider(node.logs, node.proc).lookup(frozenset({10, 11, 12, 13}))
    assert result.error == ""
    assert result.owners.by_pid == {
        10: TRAIN,
        11: Owner(namespace="kube-system", pod="a.b-c", container="side-car-2"),
    }


def test_new_container(node: Node) -> None:
    provider = ContainerLogProvider(node.logs, node.proc)
    node.add_process(10, cgroup_of(ID))
    assert provider.lookup(frozenset({10})).owners.by_pid == {}
    node.add_log(f"train-0_ml_main-{ID}.log")
    assert provider.lookup(frozenset({10})).owners.by_pid == {10: TRAIN}


def test_real_process(node: Node) -> None:
    node.add_log(f"train-0_ml_main-{ID}.log")
    with process_in(f"/kubepods/burstable/pod{UID}/{ID}") as pid:
        assert ContainerLogProvider(node.logs).lookup(frozenset({pid})).owners.by_pid == {
            pid: TRAIN
        }


def test_missing_folder(node: Node) -> None:
    """The error is reported only if there is a pod's process to attribute."""
    provider = ContainerLogProvider(node.logs / "nowhere", node.proc)
    assert provider.lookup(frozenset({10})).error == ""
    node.add_process(10, cgroup_of(ID))
    assert (
        provider.lookup(frozenset({10})).error == f"{node.logs}/nowhere: No such file or directory"
    )
