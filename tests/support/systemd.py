"""The unit file, and a systemd of its own that runs it in namespaces of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.waiting import wait_for

UNIT = ROOT / "docs" / "neuron-exporter.service"
PROGRAM = "/opt/neuron-exporter/bin/neuron-exporter"
CONFIG = "/etc/neuron-exporter.yaml"

INIT = Path("/usr/lib/systemd/systemd")

_BOOT = """
set -e
units=$1 init=$2 unit=$3 project=$4
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/project
mount --bind "$project" /run/project
mount --bind "$units" /etc/systemd/system
for each in /tmp /var/tmp /var/lib; do mount -t tmpfs tmpfs $each; done
mkdir -p "$project"
mount --bind /run/project "$project"
mount --bind /proc/sys /proc/sys
for each in /proc/sys /; do mount -o remount,bind,ro $each; done
exec "$init" --system --unit="$unit" --log-target=console
"""
"""Nothing of the machine can be changed, neither files nor settings of the kernel."""

_SEPARATE = """
[Unit]
DefaultDependencies=no
Wants=
After=
"""
"""Start nothing but the service."""


class Service:
    """A service under the systemd of its own."""

    def __init__(self, process: subprocess.Popen[bytes], unit: str, output: Path) -> None:
        self.output = output
        self._process = process
        self._unit = unit

    @property
    def init(self) -> int:
        """Id of systemd in the test's namespace; 0 if it does not run."""
        return (children_of(self._process.pid) or [0])[0] if self._process.poll() is None else 0

    def failed(self) -> bool:
        """Return whether systemd could not start."""
        return self._process.poll() is not None or "Freezing" in self.output.read_text()

    def systemctl(self, command: str, *flags: str) -> str:
        """Run a command of systemctl on the service, and return its output."""
        done = subprocess.run(
            ["nsenter", f"--target={self.init}", "--all", "systemctl", command, *flags, self._unit],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def show(self, name: str) -> str:
        """Return a property of the service; "" while systemd does not answer."""
        return self.systemctl("show", "--value", f"--property={name}").strip()

    @property
    def pid(self) -> int:
        """Id of the service's process in the test's namespace."""
        (found,) = children_of(self.init)
        return found

    def path(self, path: str) -> Path:
        """Return a path of systemd's mount namespace."""
        return Path(f"/proc/{self.init}/root{path}")


@contextmanager
def service(units: Path, unit: str, more: str = "") -> Iterator[Service]:
    """Start a unit of a folder under a systemd of its own; skip the test where none can run.

    Args:
        more: settings that are added to the unit.
    """
    if not INIT.exists():
        missing("systemd is not installed (Debian: systemd)")
    if os.getuid() != 0:
        pytest.skip("only root can start a systemd in namespaces")
    if Path("/run/systemd/system").exists():  # see sd_booted(3)
        pytest.skip("the machine's own systemd runs here, and owns the cgroups")
    drop_in = units / f"{unit}.d" / "test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(_SEPARATE + more)
    new = [each for each in _cgroups(unit) if not each.exists()]
    with open(units / "output", "wb") as output:
        process = subprocess.Popen(
            [
                *("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--cgroup", "--uts"),
                *("--ipc", "--kill-child", "sh", "-c", _BOOT, "sh"),
                *(str(units), str(INIT), unit, str(ROOT)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], "container": "test"},
        )
    try:
        found = Service(process, unit, units / "output")
        wait_for(lambda: found.failed() or found.show("LoadState") == "loaded")
        if found.failed():
            pytest.skip(f"systemd cannot run here: {found.output.read_text().strip()}")
        yield found
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        for cgroup in new:
            wait_for(partial(_removed, cgroup))


def _cgroups(unit: str) -> list[Path]:
    """Return the cgroups that systemd creates in ours, in every hierarchy, children first."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
    top = Path("/sys/fs/cgroup")
    return [
        tree / (own.get("name=systemd") or own[""]).lstrip("/") / name
        for tree in (top, *(each for each in top.iterdir() if each.is_dir()))
        for name in (f"system.slice/{unit}", "system.slice", "init.scope")
    ]


def _removed(cgroup: Path) -> bool:
    """Remove a cgroup, unless processes are still ending in it."""
    with suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()
