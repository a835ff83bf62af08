"""What the system says about processes: whether they live, what they hold, who started them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def members(group: int) -> list[int]:
    """The processes of a process group that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[2]) == group and stat[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and not yet reaped."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def descriptors(pid: int | None = None) -> int:
    """How many file descriptors a process, or this one, has open."""
    return len(os.listdir(f"/proc/{pid or 'self'}/fd"))


def holders(path: Path) -> list[int]:
    """The processes that have a file open."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if any(os.readlink(fd) == str(path) for fd in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
    return found


def threads(*names: str) -> list[str]:
    """The running threads of this process that have one of these names."""
    return [each.name for each in threading.enumerate() if each.name in names]


def thread_count(pid: int) -> int:
    """How many threads a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("Threads:")[1].split()[0])


def resident(pid: int) -> float:
    """A process's resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def listening_port(pid: int) -> int | None:
    """The TCP port over IPv4 that a process listens on; None while there is none."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            held.add(os.readlink(entry))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
            return int(fields[1].rpartition(":")[2], 16)
    return None


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """See to it that a process that the test has started has ended, and its pipes are closed."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def proportional(pid: int) -> float:
    """A process's memory in MiB, what it shares divided by those who share it (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """What a process and all its threads have used so far, the system's time included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
