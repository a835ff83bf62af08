"""What /proc tells of other processes: exporters beside us, and who has a device open."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SECONDS = 2.0
"""All of a look through /proc; a machine with a workload has some thousand processes."""

_FIRST_NAMESPACE = "pid:[4026531836]"
"""The host's own pid namespace: `PROC_PID_INIT_INO` of the kernel's include/linux/proc_ns.h."""

_OURS = ("NEURON_EXPORTER__", "AWS_", "ECS_CONTAINER_METADATA", "HTTP_PROXY", "HTTPS_PROXY")
_DEVICE = re.compile(r"/dev/neuron(\d{1,4})")


class Holders(NamedTuple):
    """Which processes have which device open. `hidden` is how many processes do not let us look;
    `whole` whether those of the whole machine are seen; `in_time` whether all were looked at."""

    by_device: dict[int, list[int]]
    hidden: int
    whole: bool
    in_time: bool


def running_exporters(proc: Path = Path("/proc")) -> dict[int, list[str]]:
    """What follows `run` on the command lines of exporters that see the same files as we do."""
    own = _namespace(proc, "self", "mnt")
    found = {}
    for pid in _pids(proc):
        words = _run_words(_command(proc / str(pid)))
        if words is not None and _namespace(proc, str(pid), "mnt") == own:
            found[pid] = _absolute(words, proc / str(pid) / "cwd")
    return found


def other_variables(pid: int, own: Mapping[str, str], proc: Path = Path("/proc")) -> list[str]:
    """Names of variables of the exporter and of AWS's libraries that are not in a process's
    environment as they are in ours; none where we may not look."""
    try:
        pairs = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []
    other = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    names = {name for name in (*own, *other) if name.startswith(_OURS)}
    return sorted(name for name in names if own.get(name) != other.get(name))


def holders(proc: Path = Path("/proc")) -> Holders:
    """Who holds the devices, by the files that processes have open."""
    until = time.monotonic() + SECONDS
    by_device: dict[int, set[int]] = defaultdict(set)
    hidden = 0
    in_time = True
    for pid in _pids(proc):
        if time.monotonic() > until:
            in_time = False
            break
        try:
            for device in _opened(proc / str(pid) / "fd"):
                by_device[device].add(pid)
        except PermissionError:
            hidden += 1
    whole = _namespace(proc, "self", "pid") == _FIRST_NAMESPACE
    return Holders(
        {device: sorted(pids) for device, pids in by_device.items()}, hidden, whole, in_time
    )


def _opened(descriptors: Path) -> Iterator[int]:
    """The devices that a process has open; none once it has ended.

    Raises:
        PermissionError: we may not look. Some let us list what they do not let us follow.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(descriptors):
            with suppress(FileNotFoundError):  # closed meanwhile
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


def _run_words(words: Sequence[str]) -> list[str] | None:
    """What follows `run`; None where this is no exporter that runs, nor if it is a program that
    has started one and waits for it."""
    program = os.path.basename(words[0]) if words else ""
    if not program.startswith(("python", "neuron-exporter")):
        return None
    for at, word in enumerate(words[1:], 1):
        is_ours = os.path.basename(words[at - 1]) == "neuron-exporter" or (
            words[at - 2 : at] == ["-m", "neuron_exporter"]
        )
        if word == "run" and is_ours:
            return list(words[at + 1 :])
    return None


def _absolute(words: list[str], cwd: Path) -> list[str]:
    """The words with the path of `--config` as it is from anywhere."""
    folder = ""
    with suppress(OSError):
        folder = os.readlink(cwd)
    found = []
    for at, word in enumerate(words):
        if at and words[at - 1] == "--config":
            found.append(os.path.join(folder, word))
        elif word.startswith("--config="):
            found.append(f"--config={os.path.join(folder, word.removeprefix('--config='))}")
        else:
            found.append(word)
    return found
