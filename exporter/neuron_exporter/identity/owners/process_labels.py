"""Labels of processes, from variables in their environment.

/proc/PID/environ has the environment with which a program was started, and nothing that it sets
later (proc_pid_environ(5)). Its mode is 0400, so reading another user's needs CAP_DAC_READ_SEARCH;
reading any also needs the right to trace the process: the same user with no fewer capabilities, or
CAP_SYS_PTRACE (ptrace(2), PTRACE_MODE_READ_FSCREDS).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.owners.cgroup import PROC
from neuron_exporter.identity.owners.lookup import OwnersResult
from neuron_exporter.model import Labels, Owners

MAX_BYTES = 1 << 20
"""Maximum length of an environment that is read; variables behind it are not seen."""

NO_HOST_PIDS = "the host's process ids are not visible here"

HIDDEN = "hidden (hidepid), which needs CAP_SYS_PTRACE"

HOST_PID_NAMESPACE = 0xEFFFFFFC
"""Inode of the host's pid namespace (Linux, include/linux/proc_ns.h: PROC_PID_INIT_INO)."""

_TIMEOUT = 1.0
"""Seconds for the new processes of a round. One that hangs in the kernel can block its readers."""

_MAX_BLOCKED = 8


class _Process(NamedTuple):
    """Start time of a process, which tells it from a later one with its pid, and its labels."""

    start: str
    labels: Labels


_Results = dict[int, _Process | OSError | None]


class ProcessLabelProvider:
    """Provider of process labels. Reads the environment of each process once.

    `variables` are the names of variables by label; no other variable is kept. In another pid
    namespace than `host_namespace`, nothing is read: neuron-monitor reports the pids of the host,
    which may be those of other processes there.
    """

    name = "process labels"

    def __init__(
        self,
        variables: Mapping[str, str],
        proc: Path = PROC,
        host_namespace: int = HOST_PID_NAMESPACE,
    ) -> None:
        self._variables = {
            label: re.compile(rb"(?:\A|\0)" + variable.encode() + rb"=([^\0]*)\0")
            for label, variable in variables.items()
        }
        self._proc = proc
        self._host_namespace = host_namespace
        self._known: dict[int, _Process] = {}
        self._blocked: dict[int, threading.Thread] = {}

    def lookup(self, pids: frozenset[int]) -> OwnersResult:
        """Return the labels of these processes; empty for a process that cannot be read."""
        labels: dict[int, Labels] = dict.fromkeys(pids, ())
        if error := self._namespace_error():
            return OwnersResult(Owners(process_labels=labels), error)
        starts = {pid: start for pid in pids if (start := start_time(pid, self._proc))}
        self._known = {p: known for p, known in self._known.items() if starts.get(p) == known.start}
        errors = set()
        # Everyone may read the first process, unless /proc hides those of others (hidepid).
        if pids - starts.keys() and not start_time(1, self._proc):
            errors.add(f"{self._proc}/PID/stat: {HIDDEN}")
        for pid, result in self._read_new(starts).items():
            match result:
                case _Process():
                    self._known[pid] = result
                case None:
                    del labels[pid]  # not known yet
                    if pid in self._blocked:
                        errors.add(f"{self._proc}/{pid}/environ: no answer")
                case FileNotFoundError() | ProcessLookupError():
                    pass  # the process has just ended
                case OSError():
                    errors.add(f"{self._proc}/PID/environ: {result.strerror}")
        labels |= {pid: known.labels for pid, known in self._known.items()}
        return OwnersResult(Owners(process_labels=labels), "; ".join(sorted(errors)))

    def _namespace_error(self) -> str:
        namespace = self._proc / "self/ns/pid"
        try:
            return "" if namespace.stat().st_ino == self._host_namespace else NO_HOST_PIDS
        except OSError as error:
            return f"{namespace}: {error.strerror}"

    def _read_new(self, starts: Mapping[int, str]) -> _Results:
        """Read the processes that are not known; None for one that has to be read again."""
        self._blocked = {p: thread for p, thread in self._blocked.items() if thread.is_alive()}
        results: _Results = dict.fromkeys(starts.keys() & self._blocked.keys())
        new = {p: s for p, s in starts.items() if p not in self._known and p not in results}
        if not new:
            return results
        if len(self._blocked) >= _MAX_BLOCKED:
            return results | dict.fromkeys(new)
        read: _Results = {}
        expired = threading.Event()
        reader = threading.Thread(
            target=self._read_each, args=(new, read, expired), name="process-labels", daemon=True
        )
        reader.start()
        reader.join(_TIMEOUT)
        expired.set()
        if reader.is_alive() and (begun := [*read]):
            self._blocked[begun[-1]] = reader
        return dict.fromkeys(new) | results | dict(read)

    def _read_each(
        self, starts: Mapping[int, str], results: _Results, expired: threading.Event
    ) -> None:
        for pid, start in starts.items():
            if expired.is_set():
                return
            results[pid] = None
            try:
                results[pid] = self._read(pid, start)
            except OSError as error:
                results[pid] = error

    def _read(self, pid: int, start: str) -> _Process | None:
        """Return the labels of a process; None if it is another one than before.

        Raises:
            OSError: the environment cannot be read.
        """
        with (self._proc / str(pid) / "environ").open("rb") as file:
            environment = file.read(MAX_BYTES)
        if not environment:  # as of a process that is ending
            raise ProcessLookupError
        if start_time(pid, self._proc) != start:
            return None
        found = ((label, form.search(environment)) for label, form in self._variables.items())
        texts = ((label, parse_text(m[1].decode("utf-8", "replace"))) for label, m in found if m)
        return _Process(start, tuple((label, text) for label, text in texts if text))


def start_time(pid: int, proc: Path = PROC) -> str:
    """Return the start time of a process in clock ticks since boot; empty if it cannot be read.

    It is field 22 of /proc/PID/stat (proc_pid_stat(5)); the second field may contain anything.
    """
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return fields[19].decode("ascii", "replace") if len(fields) > 19 else ""
