"""Containers of the built image, without an engine, with the namespaces and limits of one.

A container has its own process ids, mounts and capabilities, the machine's network, and the image's
environment and entry point. It inherits no variable of this process. Root is required.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.exporter import RunningExporter
from tests.support.fleet import CREDENTIALS
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.supervised import descendants
from tests.support.waiting import wait_for

BUILT = ROOT / ".image"
"""Folder in which `make test-image` builds."""

RUN, STATE = "/run/neuron-exporter", "/var/lib/neuron-exporter"

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_GROUPS = Path("/sys/fs/cgroup")


class Image(NamedTuple):
    """A built image: its root file system, its configuration and the layers above the base."""

    root: Path
    config: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]
    """Media type, size in bytes (gzip) and digest of each layer above the base."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every process in a container."""
        return dict(each.split("=", 1) for each in self.config["Env"])


def built_image(folder: Path = BUILT) -> Image:
    """Return the image that was built last.

    Raises:
        FileNotFoundError: No image was built.
    """
    base = json.loads((folder / "base-image" / "manifest.json").read_text())
    manifest = json.loads((folder / "image" / "manifest.json").read_text())
    document = folder / "image" / manifest["config"]["digest"].partition(":")[2]
    layers = manifest["layers"]
    below = len(base["layers"])
    return Image(folder / "root", json.loads(document.read_text())["config"], layers[below:])


def cloudwatch_variables(url: str, instance_type: str, interval: str = "2s") -> dict[str, str]:
    """Return the variables of an exporter on a machine that publishes to CloudWatch at this
    address."""
    return {
        "NEURON_EXPORTER__CLOUDWATCH__ENABLED": "true",
        "NEURON_EXPORTER__CLOUDWATCH__REGION": "us-east-1",
        "NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL": url,
        "NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL": interval,
        "NEURON_EXPORTER__IDENTITY__INSTANCE_ID": "i-0123456789abcdef0",
        "NEURON_EXPORTER__IDENTITY__INSTANCE_TYPE": instance_type,
        **CREDENTIALS,
    }


class RunningContainer(RunningExporter):
    """A running container of the image, however it was started."""

    @property
    def pid(self) -> int:
        """Id of the container's process 1 on this machine."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """URL of the exporter that was started last."""
        self.wait_for_event("started")
        return str(self.events("started")[-1]["url"])

    def processes(self) -> dict[int, str]:
        """Return the command line of each process in the container, by its id on this machine."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if os.readlink(entry / "ns" / "pid") == space:
                        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(entry.name)] = line.decode(errors="replace").strip()
        return found

    def find(self, words: str) -> int:
        """Wait for a process whose command line contains these words, and return its id."""

        def first() -> int | None:
            return next((pid for pid, line in self.processes().items() if words in line), None)

        return int(wait_for(first) or 0)

    @property
    def exporter(self) -> int:
        """Id of the exporter's own process."""
        return self.find("bin/neuron-exporter run")


class Container(RunningContainer):
    """A running container. `process` runs outside of it; `pid` is its process 1."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        variables: Mapping[str, str],
        rights: Sequence[str],
    ) -> None:
        super().__init__(process)
        self._variables = variables
        self._rights = rights
        self.is_limited = False
        """Whether the control group with the memory limit could be created."""

    @property
    def pid(self) -> int:
        """Id of the container's process 1 on this machine."""
        return int(wait_for(lambda: children_of(self.process.pid), 5)[0])

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as an engine's `exec` does."""
        # Until the root has been changed, the command would run on the machine itself.
        wait_for(lambda: not os.path.samestat(os.stat(f"/proc/{self.pid}/root"), os.stat("/")))
        return subprocess.run(
            [
                *("nsenter", f"--target={self.pid}", "--mount", "--pid", "--ipc", "--uts"),
                *("--root", "--wd", *self._rights),
                *("env", "-i", *_assigned({**self._variables, **environment}), *command),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def send(self, number: int) -> None:
        """Send a signal to process 1, as an engine does."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal to process 1 and return the container's exit status."""
        if self.process.poll() is None:
            self.send(number)
        return self.wait(seconds)


@contextmanager
def container(
    image: Image,
    folder: Path,
    *arguments: str,
    user: int = 0,
    read_only: bool = True,
    mounts: Mapping[str, str | Path] | None = None,
    memory: int | None = None,
    capabilities: Sequence[str] = (),
    entry_point: Sequence[str] | None = None,
    host_pids: bool = False,
    stdout: Any = subprocess.DEVNULL,
    **environment: str,
) -> Iterator[Container]:
    """Run the image with these arguments, as ECS or Kubernetes would.

    The exporter listens on a free port of the machine's loopback and reads the simulator, unless
    `environment` sets another address or source. `mounts` maps paths in the container to paths of
    this machine, read-only; both volumes are new and in memory. `memory` is the limit of the
    control group in bytes, where this machine allows one. `capabilities` are not dropped.
    `host_pids` is ECS's `pidMode: host`. `folder` is for files of the test.
    """
    variables = {
        **image.environment,
        "NEURON_EXPORTER__PROMETHEUS__LISTEN": "127.0.0.1:0",
        "NEURON_EXPORTER__LOG__FORMAT": "json",
        "NEURON_EXPORTER__SOURCE__KIND": "simulator",
        "AWS_EC2_METADATA_DISABLED": "true",
        **environment,
    }
    top = folder / "top"
    top.mkdir()
    rights = _rights(user, capabilities)
    command = [*(entry_point or image.config["Entrypoint"]), *arguments]
    group = _control_group(memory, folder) if memory else None
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--ipc", "--uts", "--fork", "--kill-child"),
            *(() if host_pids else ("--pid",)),
            *("--propagation", "private", "sh", "-euc"),
            _set_up(image, top, group, mounts or {}, read_only=read_only),
            "sh",
            *(*rights, "env", "-i", *_assigned(variables), *command),
        ],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    running = Container(process, variables, rights)
    running.is_limited = group is not None
    try:
        yield running
    finally:
        # The kernel does not kill a process with another user when its parent ends, nor one with
        # the machine's process ids when process 1 ends.
        for pid in descendants(process.pid) if process.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(60)
        running.close()
        if group is not None:
            wait_for(lambda: _removed(group))


def _rights(user: int, capabilities: Sequence[str]) -> list[str]:
    """Return the command that drops a container's privileges and runs another."""
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    kept = "".join(f",+{name}" for name in capabilities)
    return ["setpriv", *ids, f"--bounding-set=-all{kept}", "--inh-caps=-all"]


def _assigned(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


def _control_group(memory: int, folder: Path) -> Path | None:
    """Create a control group (version 1 or 2) with this limit; return None where that fails."""
    old = (_GROUPS / "memory").is_dir()
    above = _GROUPS / "memory" if old else _GROUPS
    group = above / f"neuron-exporter-{os.getpid()}-{folder.name}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(memory))
    except OSError:
        _removed(group)
        return None
    return group


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _own_group(group: Path | None) -> list[str]:
    """Return the commands that mount the container's own group in place of all groups."""
    if group is None:
        return []
    inside = f"sys/fs/cgroup{str(group.parent).removeprefix(str(_GROUPS))}"
    return [f"mkdir -p {inside}; mount --bind {group} {inside}; mount -o remount,bind,ro {inside}"]


def _set_up(
    image: Image,
    top: Path,
    group: Path | None,
    mounts: Mapping[str, str | Path],
    *,
    read_only: bool,
) -> str:
    """Return the shell script that process 1 runs before it executes its arguments."""
    at = shlex.quote(str(top))
    lines = [
        f"echo 0 >{group}/cgroup.procs" if group else "",
        # Writes to a root that is not read-only stay in memory.
        f"mount -t tmpfs tmpfs {at}; mkdir {at}/upper {at}/work {at}/root",
        "mount -t overlay overlay -o "
        f"lowerdir={shlex.quote(str(image.root))},upperdir={at}/upper,workdir={at}/work {at}/root",
        f"cd {at}/root; mkdir -p proc sys dev run tmp",
        "mount -t proc proc proc; mount -t sysfs -o ro sysfs sys",
        "mount -t tmpfs tmpfs sys/fs/cgroup",
        *_own_group(group),
        "mount -t tmpfs -o mode=755 tmpfs dev; mkdir dev/shm; mount -t tmpfs tmpfs dev/shm",
        "ln -s /proc/self/fd dev/fd",
        "ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr",
        *(f"touch dev/{each}; mount --bind /dev/{each} dev/{each}" for each in _DEVICES),
    ]
    for inside, outside in mounts.items():
        source, target = shlex.quote(str(outside)), shlex.quote(inside.lstrip("/"))
        lines += [
            f"if [ -d {source} ]; then mkdir -p {target}; "
            f"else mkdir -p $(dirname {target}); touch {target}; fi",
            f"mount --bind {source} {target}; mount -o remount,bind,ro {target}",
        ]
    # New volumes have the owner that the image sets, as with an engine.
    lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {STATE[1:]}")
    lines.append(f"mount -t tmpfs -o mode=0777 tmpfs {RUN[1:]}")  # as an emptyDir of Kubernetes
    lines += [
        f"mount -o remount,ro {at}/root" if read_only else "",
        'exec chroot . "$@"',
    ]
    return "\n".join(filter(None, lines))
