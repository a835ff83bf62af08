"""The container of a process, from the names of its cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.identity.owners.cgroup import (
    Container,
    ProcessUnavailable,
    container_of,
    parse,
)
from tests.support.cgroups import process_in

ID, NODE = "0123456789abcdef" * 4, "fedcba9876543210" * 4
TASK = "158d1c8083dd49d6b527399fd6414f5c"
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
SYSTEMD_UID = UID.replace("-", "_")
BURSTABLE = f"kubepods-burstable-pod{SYSTEMD_UID}.slice"
MIRRORED = "fc6e6fad6d3a8b0c1f4b6c1f3a0d9e21"

SHAPES = {
    "ECS, version 1": (f"9:perf_event:/ecs/{TASK}/{ID}\n8:memory:/ecs/{TASK}/{ID}", ""),
    "ECS, version 1, task ids of old": (
        f"4:cpu:/ecs/48cb34f5-cd39-4d59-9bb9-89f3c1611afd/{ID}",
        "",
    ),
    "ECS, version 1, in a cluster": (f"4:cpu:/ecs/training/{TASK}/{ID}", ""),
    "ECS, version 2": (f"0::/ecstasks.slice/ecstasks-{TASK}.slice/docker-{ID}.scope", ""),
    "ECS without limits for tasks": (f"0::/system.slice/docker-{ID}.scope", ""),
    "ECS, own cgroup namespace, version 1": (f"4:memory:/../{ID}", ""),
    "ECS, own cgroup namespace, version 2": (f"0::/../docker-{ID}.scope", ""),
    "ECS, own cgroup namespace, another task's": (
        f"0::/../../ecstasks-{TASK}.slice/docker-{ID}.scope",
        "",
    ),
    "Docker, version 1": (f"2:cpu:/docker/{ID}", ""),
    "EKS AL2 (containerd, cgroupfs)": (f"11:cpu:/kubepods/burstable/pod{UID}/{ID}", UID),
    "EKS AL2 (containerd, systemd)": (
        f"11:cpu:/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/cri-containerd-{ID}.scope",
        UID,
    ),
    "EKS AL2 (Docker)": (
        f"1:name=systemd:/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/docker-{ID}.scope",
        UID,
    ),
    "EKS AL2023": (
        f"0::/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/cri-containerd-{ID}.scope",
        UID,
    ),
    "EKS AL2023, own cgroup namespace": (
        f"0::/../../{BURSTABLE}/cri-containerd-{ID}.scope",
        UID,
    ),
    "Bottlerocket": (
        f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD_UID}.slice/"
        f"cri-containerd-{ID}.scope",
        UID,
    ),
    "containerd without the systemd driver's folders": (
        f"1:name=systemd:/system.slice/containerd.service/{BURSTABLE}:cri-containerd:{ID}",
        UID,
    ),
    "CRI-O": (f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-{ID}.scope", UID),
    "CRI-O, with a cgroup of its own below": (
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-{ID}.scope/container",
        UID,
    ),
    "a static pod": (f"0::/kubepods/burstable/pod{MIRRORED}/{ID}", MIRRORED),
    "kind, version 2": (
        "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-{BURSTABLE}/cri-containerd-{ID}.scope",
        UID,
    ),
    "kind, version 1, seen from the host": (
        f"5:memory:/docker/{NODE}/kubelet/kubepods/burstable/pod{UID}/{ID}",
        UID,
    ),
    "systemd in a container": (f"0::/system.slice/docker-{ID}.scope/system.slice/x.service", ""),
    "beside hierarchies that know nothing": (f"4:memory:/ecs/{TASK}/{ID}\n9:pids:/\n0::/", ""),
}

NONE = {
    "the host's own": "0::/system.slice/sshd.service",
    "the root": "0::/",
    "another namespace's root": "0::/../..",
    "CRI-O's monitor, which is in no container": (
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-conmon-{ID}.scope"
    ),
    "a pod without a container": f"0::/kubepods/burstable/pod{UID}",
    "hierarchies that disagree": f"2:cpu:/docker/{ID}\n3:memory:/docker/{NODE}",
    "too short an id": f"0::/docker/{ID[:-1]}",
    "nothing": "",
    "no such file": "hello\nworld",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_known_formats(shape: str) -> None:
    text, uid = SHAPES[shape]
    assert parse(text + "\n") == Container(ID, uid)


def test_ecs_container_id_without_docker() -> None:
    assert parse(f"0::/ecs/{TASK}/{TASK}-2495160603") == Container(f"{TASK}-2495160603")


@pytest.mark.parametrize("shape", NONE)
def test_unknown_formats(shape: str) -> None:
    """An unknown format yields no container, never a wrong one."""
    assert parse(NONE[shape]) is None


def test_real_process() -> None:
    with process_in(f"/ecs/{TASK}/{ID}") as pid:
        assert container_of(pid) == Container(ID)


def test_unavailable_process(tmp_path: Path) -> None:
    """A process that cannot be read is not mistaken for one without a container."""
    with pytest.raises(ProcessUnavailable):
        container_of(2**22 + 1)
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "cgroup").write_text("")
    with pytest.raises(ProcessUnavailable, match="just ended"):
        container_of(7, tmp_path)
