"""Processes whose parent has ended, which the kernel makes children of the exporter.

The exporter adopts the orphans of its child, and as process 1 of a container also those of others,
such as of a `docker exec` or a health check. The first are killed with the child. The others are
left alone, and reaped when they end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuron_exporter.source.launch import mark

_PR_SET_CHILD_SUBREAPER = 36
_TASKS = Path("/proc/self/task")

_lock = threading.Lock()
"""Held from reading an id to signalling it: meanwhile it is not reaped, and so not reused."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans_of(child: int) -> bool:
    """Kill and reap the adopted descendants of a child that has ended and is not reaped yet.

    Return whether there were any: those that they leave are adopted only now.
    """
    with _lock:
        threads = os.listdir(_TASKS)
        found = [pid for each in threads for pid in _children(each) if _descends(pid, child)]
        for pid in found:
            with suppress(PermissionError):  # it runs as another user
                os.kill(pid, signal.SIGKILL)
            _reap(pid)
    return bool(found)


def reap_orphans() -> None:
    """Reap the adopted processes that have ended, both of the child and of others.

    The main thread must call this: adopted processes are its children. Those that other threads
    have started are not, so that a library gets the status of its own process.
    """
    if not _has_ended_children():
        return  # the usual case, in which /proc need not be read
    with _lock:
        for pid in _children(str(os.getpid())):
            _reap(pid)


def _has_ended_children() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # there are no children
        return False


def _children(thread: str) -> Iterator[int]:
    with suppress(OSError):  # the thread has ended
        yield from map(int, (_TASKS / thread / "children").read_text().split())


def _descends(pid: int, child: int) -> bool:
    """Return whether a process was started by the child or one of its descendants."""
    if pid == child:
        return False
    with suppress(OSError):  # the process was reaped by its parent, a thread of this process
        limits = Path(f"/proc/{pid}/limits").read_text()
        return os.getsid(pid) == child or f" {mark(child)} " in limits
    return False


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
