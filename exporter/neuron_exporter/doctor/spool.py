"""Check the spool file: whether it can be written, which process has locked it, and its queue."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile

from neuron_exporter import own_files
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject, Verdict
from neuron_exporter.sinks.delivery.spool.database import connect, verify_schema
from neuron_exporter.sinks.delivery.spool.error import StoreError
from neuron_exporter.sinks.delivery.spool.paths import expand
from neuron_exporter.sinks.delivery.spool.store import TABLES

SUBJECT = Subject("spool")

_MIB = 2**20
_FIX_VOLUME = (
    "mount a volume there that this user can write to, or set {}.path; if the exporter runs as "
    "another user, run the doctor as that user"
)
_MAX_CALLS = 10_000  # of the progress handler: 100 million steps of SQLite
_FLOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, process."""


def check(context: Context) -> Iterator[Finding]:
    """Inspect the files of all sinks without disturbing the process that has locked them."""
    cloudwatch, otlp = context.config.cloudwatch, context.config.otlp
    if cloudwatch.enabled:
        path = None if cloudwatch.transport == "emf" else cloudwatch.spool.path
        yield from _check(context, "cloudwatch", path, cloudwatch.spool.max_bytes)
    if otlp.enabled:
        yield from _check(context, "otlp", otlp.spool.path, otlp.spool.max_bytes)


def _check(context: Context, sink: str, template: str | None, max_bytes: int) -> Iterator[Finding]:
    if template is None:
        yield SUBJECT.skipped(f"requests of {sink} are queued in memory: a restart loses them")
        return
    values = {"task_id": context.machine.task_id, "pod_uid": context.machine.pod_uid}
    scraped, name = context.scraped, "neuron_exporter_spool_on_disk"
    on_disk = scraped.value(name, sink=sink) if scraped is not None else None
    for finding in check_file(expand(template, values), max_bytes, f"{sink}.spool"):
        if finding.verdict is Verdict.FAILED and on_disk:
            seen = f"{finding.seen}; the running exporter, as another user, can use it"
            finding = SUBJECT.skipped(seen, "run the doctor as the user of the exporter")
        yield finding
    if on_disk == 0:  # it is absent until the exporter opens the file, for its first requests
        yield SUBJECT.warning(
            f"the running exporter queues requests of {sink} in memory: it cannot use the file",
            "read the reason in the log; the exporter retries every 30 s to 5 min",
        )


def check_file(path: Path, max_bytes: int, section: str = "cloudwatch.spool") -> Iterator[Finding]:
    """Check that the exporter can write to the path, and report what the file contains. `section`
    has the keys of the spool."""
    folder = next((each for each in path.parents if os.path.isdir(each)), Path("/"))
    try:
        exists = _require_access(folder, path)
        stats = os.statvfs(folder)
        files = (str(path), f"{path}-wal")
        size = sum(os.lstat(each).st_size for each in files if os.path.lexists(each))
    except OSError as error:
        seen = f"{error.filename} cannot be written: {error.strerror} (user {os.geteuid()})"
        yield SUBJECT.failed(seen, _FIX_VOLUME.format(section))
        return
    if exists:
        yield _state(path, size)
    else:
        yield SUBJECT.ok(f"{path} does not exist yet and can be created")
    free = stats.f_bavail * stats.f_frsize
    if free < max_bytes - size:
        yield SUBJECT.warning(
            f"{folder} has {free / _MIB:.0f} MiB free; {section}.max_bytes is "
            f"{max_bytes / _MIB:.0f} MiB",
            "free some space: when the disk is full, up to 16 MiB of requests stay in memory",
        )


def _require_access(folder: Path, path: Path) -> bool:
    """Return whether the file exists. Raises OSError if it cannot be written or created.

    This creates a temporary file, since root has all permissions even on a read-only file system.
    """
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
    try:
        if path.is_symlink():
            return True  # it is not followed
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        return False
    return True


def _state(path: Path, size: int) -> Finding:
    seen = f"{path}: {size / _MIB:.1f} MiB"
    try:
        pid = None if path.is_symlink() else _locked_by(path)
        if pid is not None:
            process = f"process {pid}" if pid else "a process in another container"
            return SUBJECT.ok(f"{seen}, locked by {process} (a running exporter locks it)")
        own_files.verify(path, path.lstat())
        queued = _count_requests(path) if size else 0
    except own_files.ForeignFileError as error:
        return SUBJECT.failed(
            f"{error.filename} {error.strerror}",
            "the exporter renames such a file and creates a new one; if the exporter runs as "
            "another user, run the doctor as that user",
        )
    except (OSError, sqlite3.Error, StoreError) as error:
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
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def _count_requests(path: Path) -> int:
    """Return the number of requests in a file that is not locked."""
    database, _ = connect(path, mode="ro")
    with closing(database):
        verify_schema(database, path, TABLES)
        calls = count()
        database.set_progress_handler(lambda: next(calls) > _MAX_CALLS, 10_000)
        row = database.execute("SELECT count(*) FROM requests WHERE in_flight >= 0").fetchone()
    return int(row[0])
