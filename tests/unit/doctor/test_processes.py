"""Processes read from a /proc that the tests make."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor.devices import check_users
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.processes import (
    OpenDevices,
    find_open_devices,
    other_variables,
    running_exporters,
)
from neuron_exporter.proxies import exempt_local_services

HOST_PID_NAMESPACE = "pid:[4026531836]"


def _process(proc: Path, pid: int, *opened: str, command: str = "", mnt: str = "mnt:[1]") -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "ns").mkdir()
    (proc / str(pid) / "ns" / "mnt").symlink_to(mnt)
    (proc / str(pid) / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    (proc / str(pid) / "cwd").symlink_to("/srv")
    for number, path in enumerate(opened):
        (proc / str(pid) / "fd" / str(number)).symlink_to(path)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Make an empty /proc whose links read like those of a real one."""
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "mnt").symlink_to("mnt:[1]")
    return tmp_path


def test_processes_are_counted_once_per_device(proc: Path) -> None:
    (proc / "self" / "ns" / "pid").symlink_to(HOST_PID_NAMESPACE)
    _process(proc, 10, "/dev/neuron0", "/dev/neuron0", "/dev/null", "/dev/neuron0 (deleted)")
    _process(proc, 11, "/dev/neuron0", "/dev/neuron11")
    open_devices = find_open_devices(proc)
    assert open_devices == OpenDevices(
        {0: [10, 11], 11: [11]}, hidden=0, host_pid_namespace=True, is_complete=True
    )
    (finding,) = check_users([0, 1, 11], open_devices)
    assert finding == Finding(
        "devices", Verdict.OK, "processes with a device open: neuron0: 2, neuron11: 1"
    )


def test_container_pid_namespace_is_reported(proc: Path) -> None:
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026532000]")
    (finding,) = check_users([0], find_open_devices(proc))
    assert finding.verdict is Verdict.SKIPPED
    assert "only this container's processes are visible" in finding.seen


def test_running_exporters(proc: Path) -> None:
    """Exporters in our mount namespace are found by their command lines, however they were
    started."""
    _process(proc, 1, command="/bin/sh entrypoint.sh neuron-exporter run")
    _process(proc, 2, command="/v/bin/python3 /v/bin/neuron-exporter run --config e.yaml --port 1")
    _process(proc, 3, command="python3.12 -m neuron_exporter run --config=/etc/e.yaml")
    _process(proc, 4, command="timeout 9 neuron-exporter run")
    _process(proc, 5, command="python3 /v/bin/neuron-exporter doctor")
    _process(proc, 6, command="python3 /v/bin/neuron-exporter run", mnt="mnt:[2]")
    _process(proc, 7, command="")
    assert running_exporters(proc).arguments == {
        2: ["--config", "/srv/e.yaml", "--port", "1"],
        3: ["--config=/etc/e.yaml"],
    }


def test_different_variables(proc: Path) -> None:
    """The names of variables are returned, never their values."""
    (proc / "9").mkdir()
    theirs = b"AWS_REGION=a\0AWS_PROFILE=geheim\0HOME=/x\0NEURON_EXPORTER__LOG__LEVEL=info\0\0"
    (proc / "9" / "environ").write_bytes(theirs)
    own = {"AWS_REGION": "b", "NEURON_EXPORTER__LOG__LEVEL": "info", "HOME": "/y"}
    assert other_variables(9, own, proc) == ["AWS_PROFILE", "AWS_REGION"]
    with pytest.raises(OSError, match="environ"):
        other_variables(10, own, proc)


def test_proxy_variables_are_compared(proc: Path) -> None:
    """The addresses that the exporter itself adds to NO_PROXY are no difference."""
    (proc / "9").mkdir()
    (proc / "9" / "environ").write_bytes(b"https_proxy=http://a:1\0NO_PROXY=b\0\0")
    own = {"https_proxy": "http://a:1", "NO_PROXY": "b"}
    exempt_local_services(own)
    assert other_variables(9, own, proc) == []
    assert other_variables(9, {**own, "https_proxy": "http://c:1"}, proc) == ["https_proxy"]
    assert other_variables(9, {**own, "NO_PROXY": "c"}, proc) == ["NO_PROXY"]


def test_exporters_of_other_users(proc: Path) -> None:
    """Where we may not read the mount namespace, the process may run here or in a container."""
    _process(proc, 2, command="python3 -m neuron_exporter run")
    _process(proc, 3, command="python3 -m neuron_exporter run")
    (proc / "3" / "ns" / "mnt").unlink()
    found = running_exporters(proc)
    assert ([*found.arguments], found.hidden) == ([2], [3])
