"""State of processes from /proc: running, children, open files, memory, CPU time."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def group_members(group: int) -> list[int]:
    """Return the running processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[2]) == group and stat[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def children_of(pid: int) -> list[int]:
    """Return the children of a process, zombies included."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def descriptors(pid: int | None = None) -> int:
    """Return the number of open file descriptors of a process (default: this one).

    Of this one, compare the number with `<=`: earlier tests may still have some that end.
    """
    return len(os.listdir(f"/proc/{pid or 'self'}/fd"))


def assert_leaks_nothing(attempt: Callable[[], object]) -> None:
    """Assert that forty more attempts leave neither memory nor descriptors behind."""

    def use(times: int) -> tuple[int, int]:
        for _ in range(times):
            attempt()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize(), descriptors()

    gc.collect()
    gc.disable()
    try:
        memory, open_before = use(10)
        later, open_after = use(40)
    finally:
        gc.enable()
    assert later - memory < 4 * 2**20
    assert open_after <= open_before + 1  # the server may still be closing the last connection


def processes_with_open(path: Path) -> list[int]:
    """Return the processes that have a file open."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if any(os.readlink(fd) == str(path) for fd in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
    return found


def threads(*names: str) -> list[str]:
    """Return the names of this process's running threads that are among `names`."""
    return [each.name for each in threading.enumerate() if each.name in names]


def thread_count(pid: int) -> int:
    """Return the number of threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("Threads:")[1].split()[0])


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def listening_port(pid: int) -> int | None:
    """Return the IPv4 TCP port on which a process listens; None while there is none."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.add(os.readlink(entry))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            return int(fields[1].rpartition(":")[2], 16)
    return None


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill a process of the test at the end if it still runs, and close its pipes."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def proportional_set_size(pid: int) -> float:
    """Return the proportional set size (PSS) of a process in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the user and system CPU time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
