"""The file in which requests wait: can it be written, who has it, and what waits in it?"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, skipped, warning
from neuron_exporter.sinks.delivery.spool.paths import expand

SUBJECT = "spool"

_MIB = 2**20
_VOLUME = "mount a volume there that this user may write to, or set cloudwatch.spool.path"
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process."""


def examine(case: Case) -> Iterator[Finding]:
    """Look at the file, without disturbing whoever has it."""
    sent = case.config.cloudwatch
    if not sent.enabled:
        return
    if sent.spool.path is None or sent.transport == "emf":
        yield skipped(SUBJECT, "requests wait in memory: a restart loses those that wait")
        return
    machine = case.machine
    known = {"task_id": machine.task_id, "pod_uid": machine.pod_uid}
    yield from look(expand(sent.spool.path, known), sent.spool.max_bytes)
    if case.exposed is None:
        return
    # The file is opened for the first window.
    has_begun = case.exposed.value("neuron_exporter_sink_requests_total", sink="cloudwatch")
    if has_begun and case.exposed.value("neuron_exporter_spool_on_disk") == 0:
        yield warning(
            SUBJECT,
            "the running exporter keeps what waits in memory: it cannot use the file",
            "the log says why; it tries again every 30 s to 5 min",
        )


def look(path: Path, max_bytes: int) -> Iterator[Finding]:
    """Whether the exporter could write here, and what is here already."""
    folder = next((each for each in path.parents if each.is_dir()), Path("/"))
    refused = _why_not(folder, path)
    if refused:
        yield failed(SUBJECT, f"{refused} (user {os.geteuid()})", _VOLUME)
        return
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if not path.exists():
        yield ok(SUBJECT, f"{path} is not there yet, and can be made")
        size = 0
    else:
        log = Path(f"{path}-wal")
        size = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        yield _state(path, size)
    if free < max_bytes - size:
        yield warning(
            SUBJECT,
            f"{free / _MIB:.0f} MiB are free in {folder}, of {max_bytes / _MIB:.0f} MiB that "
            "cloudwatch.spool.max_bytes allows",
            "what does not fit on a full disk waits in memory, up to 16 MiB: make room",
        )


def _why_not(folder: Path, path: Path) -> str:
    """Why nothing can be written; empty where it can. Asking for rights is not enough: root has all
    of them, on file systems that take nothing, too."""
    if path.exists() and not os.access(path, os.W_OK):
        return f"{path} cannot be written"
    try:
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"


def _state(path: Path, size: int) -> Finding:
    seen = f"{path}: {size / _MIB:.1f} MiB"
    try:
        holder = _locked_by(path)
        if holder is not None:
            who = f"process {holder}" if holder else "a process elsewhere"
            return ok(SUBJECT, f"{seen}, locked by {who} (as the running exporter does)")
        waiting = _pending(path) if size else 0
    except (OSError, sqlite3.Error) as error:
        return failed(
            SUBJECT,
            f"{seen}, cannot be read: {error}",
            "the exporter sets a file that is corrupt or foreign aside and begins a new one",
        )
    if waiting:
        return warning(
            SUBJECT,
            f"{seen}, {waiting} requests wait in it, and no exporter has it",
            "start the exporter: it sends them, the oldest first",
        )
    return ok(SUBJECT, f"{seen}, nothing waits in it, and nobody has it")


def _locked_by(path: Path) -> int | None:
    """The process that has locked the file, 0 for one that we cannot see; None where none has."""
    with path.open("rb") as file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def _pending(path: Path) -> int:
    """How many requests wait in a file that nobody has locked."""
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=0.1)) as database:
        row = database.execute("SELECT count(*) FROM requests").fetchone()
    return int(row[0])
