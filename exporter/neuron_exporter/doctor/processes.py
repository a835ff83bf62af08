"""Read other processes from /proc: running exporters, and processes with a device open."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.identity.owners.process_labels import HOST_PID_NAMESPACE
from neuron_exporter.proxies import exempt_local_services

SCAN_TIMEOUT = 2.0
"""Seconds for a scan of /proc; a machine with a workload has several thousand processes."""

_RELEVANT_VARIABLES = (
    *("NEURON_EXPORTER__", "AWS_", "ECS_CONTAINER_METADATA"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_DEVICE = re.compile(r"/dev/neuron(\d{1,4})")


class Exporters(NamedTuple):
    """The arguments after `run` of the exporters in our mount namespace, by process id.

    `hidden` has the exporters of other users, whose mount namespace we may not read.
    """

    arguments: dict[int, list[str]]
    hidden: list[int]


class OpenDevices(NamedTuple):
    """Processes by the device that they have open.

    `hidden` is the number of processes that could not be read, `host_pid_namespace` whether all
    processes of the machine are visible, `is_complete` whether the scan finished in time.
    """

    by_device: dict[int, list[int]]
    hidden: int
    host_pid_namespace: bool
    is_complete: bool


def running_exporters(proc: Path = Path("/proc")) -> Exporters:
    """Find the exporters that run in our mount namespace, or may do so."""
    own = _namespace(proc, "self", "mnt")
    found = Exporters({}, [])
    for pid in _pids(proc):
        words = _run_arguments(_command(proc / str(pid)))
        if words is None:
            continue
        namespace = _namespace(proc, str(pid), "mnt")
        if namespace == own:
            found.arguments[pid] = _absolute(words, proc / str(pid) / "cwd")
        elif not namespace:
            found.hidden.append(pid)
    return found


def other_variables(pid: int, own: Mapping[str, str], proc: Path = Path("/proc")) -> list[str]:
    """Return the names of exporter, AWS and proxy variables whose values differ between a process
    and `own`.

    Raises:
        OSError: the process's environment cannot be read.
    """
    pairs = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace").split("\0")
    other = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    exempt_local_services(other)  # as in `own`
    names = {name for name in (*own, *other) if name.upper().startswith(_RELEVANT_VARIABLES)}
    return sorted(name for name in names if own.get(name) != other.get(name))


def find_open_devices(proc: Path = Path("/proc")) -> OpenDevices:
    """Find the processes that have a device open, by their open files."""
    deadline = time.monotonic() + SCAN_TIMEOUT
    by_device: dict[int, set[int]] = defaultdict(set)
    hidden = 0
    is_complete = True
    for pid in _pids(proc):
        if time.monotonic() > deadline:
            is_complete = False
            break
        try:
            for device in _devices_open(proc / str(pid) / "fd"):
                by_device[device].add(pid)
        except PermissionError:
            hidden += 1
    return OpenDevices(
        {device: sorted(pids) for device, pids in by_device.items()},
        hidden,
        host_pid_namespace=in_host_pid_namespace(proc),
        is_complete=is_complete,
    )


def in_host_pid_namespace(proc: Path = Path("/proc")) -> bool:
    """Return whether all processes of the machine are visible, under the ids of the host."""
    return _namespace(proc, "self", "pid") == f"pid:[{HOST_PID_NAMESPACE}]"


def _devices_open(descriptors: Path) -> Iterator[int]:
    """Yield the devices that a process has open; none once it has ended.

    Raises:
        PermissionError: its files may not be read. Some can be listed but not followed.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(descriptors):
            with suppress(FileNotFoundError):  # closed in the meantime
                device = _DEVICE.fullmatch(os.readlink(descriptors / name))
                if device is not None:
                    yield int(device[1])


def _pids(proc: Path) -> Iterator[int]:
    with suppress(OSError):
        yield from sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def _namespace(proc: Path, pid: str, kind: str) -> str:
    with suppress(OSError):
        return os.readlink(proc / pid / "ns" / kind)
    return ""


def _command(process: Path) -> list[str]:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    return []


def _run_arguments(words: Sequence[str]) -> list[str] | None:
    """Return the arguments after `run`; None unless the process itself is a running exporter (a
    program that started one and waits for it is not)."""
    program = os.path.basename(words[0]) if words else ""
    if not program.startswith(("python", "neuron-exporter")):
        return None
    for at, word in enumerate(words[1:], 1):
        is_script = os.path.basename(words[at - 1]) == "neuron-exporter"
        if word == "run" and (is_script or words[at - 2 : at] == ["-m", "neuron_exporter"]):
            return list(words[at + 1 :])
    return None


def _absolute(words: list[str], cwd: Path) -> list[str]:
    """Return the arguments with an absolute path after `--config`."""
    folder = ""
    with suppress(OSError):
        folder = os.readlink(cwd)
    found = list(words)
    for at, word in enumerate(words):
        if at and words[at - 1] == "--config":
            found[at] = os.path.join(folder, word)
        elif word.startswith("--config="):
            found[at] = f"--config={os.path.join(folder, word.removeprefix('--config='))}"
    return found
