"""Check the spool file: whether it can be written, which process has locked it, and its queue."""

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

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.sinks.delivery.spool.paths import expand

SUBJECT = Subject("spool")

_MIB = 2**20
_FIX_VOLUME = "mount a volume there that this user can write to, or set cloudwatch.spool.path"
_FLOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, process."""


def check(context: Context) -> Iterator[Finding]:
    """Inspect the file without disturbing the process that has locked it."""
    config = context.config.cloudwatch
    if not config.enabled:
        return
    if config.spool.path is None or config.transport == "emf":
        yield SUBJECT.skipped("requests are queued in memory: a restart loses them")
        return
    values = {"task_id": context.machine.task_id, "pod_uid": context.machine.pod_uid}
    yield from check_file(expand(config.spool.path, values), config.spool.max_bytes)
    if context.scraped is None:
        return
    # The exporter opens the file when it sends its first window.
    has_begun = context.scraped.value("neuron_exporter_sink_requests_total", sink="cloudwatch")
    if has_begun and context.scraped.value("neuron_exporter_spool_on_disk") == 0:
        yield SUBJECT.warning(
            "the running exporter queues requests in memory: it cannot use the file",
            "read the reason in the log; the exporter retries every 30 s to 5 min",
        )


def check_file(path: Path, max_bytes: int) -> Iterator[Finding]:
    """Check that the exporter can write to the path, and report what the file contains."""
    folder = next((each for each in path.parents if each.is_dir()), Path("/"))
    error = _write_error(folder, path)
    if error:
        yield SUBJECT.failed(f"{error} (user {os.geteuid()})", _FIX_VOLUME)
        return
    stats = os.statvfs(folder)
    free = stats.f_bavail * stats.f_frsize
    if not path.exists():
        yield SUBJECT.ok(f"{path} does not exist yet and can be created")
        size = 0
    else:
        log = Path(f"{path}-wal")
        size = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        yield _state(path, size)
    if free < max_bytes - size:
        yield SUBJECT.warning(
            f"{folder} has {free / _MIB:.0f} MiB free; cloudwatch.spool.max_bytes is "
            f"{max_bytes / _MIB:.0f} MiB",
            "free some space: when the disk is full, up to 16 MiB of requests stay in memory",
        )


def _write_error(folder: Path, path: Path) -> str:
    """Return why the file cannot be written; empty if it can. This creates a temporary file, since
    root has all permissions even on a read-only file system."""
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
        pid = _locked_by(path)
        if pid is not None:
            process = f"process {pid}" if pid else "a process in another container"
            return SUBJECT.ok(f"{seen}, locked by {process} (a running exporter locks it)")
        queued = _count_requests(path) if size else 0
    except (OSError, sqlite3.Error) as error:
        return SUBJECT.failed(
            f"{seen}, cannot be read: {error}",
            "the exporter renames a corrupt or foreign file and creates a new one",
        )
    if queued:
        return SUBJECT.warning(
            f"{seen}, {queued} requests queued, and no exporter has it open",
            "start the exporter: it sends them, oldest first",
        )
    return SUBJECT.ok(f"{seen}, empty and not locked")


def _locked_by(path: Path) -> int | None:
    """Return the process that has locked the file; 0 if it is not visible, None without a lock."""
    with path.open("rb") as file:
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def _count_requests(path: Path) -> int:
    """Return the number of requests in a file that is not locked."""
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=0.1)) as database:
        row = database.execute("SELECT count(*) FROM requests").fetchone()
    return int(row[0])
