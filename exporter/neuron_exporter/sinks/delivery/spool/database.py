"""Database of a spool: SQLite in WAL mode, locked while it is open.

Every SQLite that Python 3.11 supports (from 3.7.15) has the features used here; Debian bookworm has
3.40. With `locking_mode=EXCLUSIVE`, set before the first access, SQLite needs no shared memory, and
works on file systems that have none. Other processes get "database is locked". The kernel releases
the lock however the process ends. No other code of this process may open and close the file: by
POSIX, closing it releases the lock.

`synchronous=FULL` syncs the log at each commit, which then survives a kill, and a loss of power if
the disk honours the sync. With NORMAL, a loss of power could undo the deletion of requests that
were delivered, and they would be sent again. Each change of state costs one sync.

Another program may have planted the file or its log. SQLite opens them only if no other user can
have written them, and no link is followed. The file is used only if its schema is exactly that of
this program, so that it has no views, triggers or virtual tables. The steps of each operation are
limited in proportion to the file, and rows have a maximum size: a crafted tree of pages can be
endless.

The size limit covers the file and its log. SQLite limits the number of pages of the file. Before a
change, a log longer than an eighth of its share is written back and truncated; no change is larger
than the rest of the share. Unused pages are returned to the file system gradually
(`auto_vacuum=INCREMENTAL`, which must be set before the first table is created).
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from neuron_exporter import own_files
from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError, translated
from neuron_exporter.sinks.delivery.spool.paths import COMPANION_SUFFIXES, FileId, file_id

SCHEMA = 1
"""Version of the tables. A file with another version is quarantined, not read."""

RESERVED_PAGES = 1024
"""Free pages that stay in the file for later requests."""

PAGE_SIZE = 1024
"""Bytes; about the size of a packed request."""

MAX_ROW_BYTES = 2**20
"""Size limit of a row, which is written in one transaction."""

_APPLICATION_ID = 0x4E455854
_INCREMENTAL = 2  # value of `auto_vacuum`
_SCHEMA_QUERY = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name LIMIT 20"
_TOKEN = re.compile(r"[0-9a-f]{16}")
_STEPS = 10_000  # of SQLite's virtual machine, from one call of the progress handler to the next
_MIN_CALLS = 1_000
_PAGES_PER_CALL = 20  # a scan needs some 50 steps for a row, and a page has up to 5 rows
_LOG_SHARE = 1 / 4
_MIN_LOG_SIZE = 64 * 1024
_MAX_LOG_SIZE = 4 * MAX_ROW_BYTES
_MAX_LOG_SHARE = 9 / 16  # the log of a small file has room for each of its pages once
_BUSY_SECONDS = 0.1
_VACUUM_PAGES = 1024


class Database:
    """An open, locked database, for one thread. Any thread may read `bytes`, its size with its log.

    `max_batch_bytes` limits the rows written in one transaction.
    """

    def __init__(self, path: Path, max_bytes: int, tables: str, *, create: bool) -> None:
        """Open and lock the file. Create the tables if it is empty or, with `create`, missing."""
        self.path = path
        self.bytes = 0
        self._log: FileId | None = None
        self._log_path = Path(f"{path}-wal")
        log = min(max(int(max_bytes * _LOG_SHARE), _MIN_LOG_SIZE), _MAX_LOG_SIZE)
        log = min(log, int(max_bytes * _MAX_LOG_SHARE))
        self._log_limit = log // 8
        self._max_pages = (max_bytes - log) // PAGE_SIZE
        self.max_batch_bytes = min(log // 4, self._max_pages * PAGE_SIZE // 4)
        with translated(path):
            if create:
                _create(path)
            self._connection, self.file_id = connect(path)
            self._used_pages = _used_pages(path.lstat())
        self._calls_left = 0
        self._connection.set_progress_handler(self._is_endless, _STEPS)
        try:
            with translated(path, unspecific=Reason.CORRUPT):  # such as an unknown file format
                self._prepare(tables)
                self.check_path()
                self._verify_log()
                self._update_size()
        except BaseException:
            self.close()
            raise

    def _prepare(self, tables: str) -> None:
        self._limit_steps()
        for setting in (
            "locking_mode=EXCLUSIVE",
            "cell_size_check=ON",
            "temp_store=MEMORY",
            "secure_delete=OFF",  # some builds of SQLite overwrite deleted content
            "synchronous=FULL",
            "cache_size=-512",
        ):
            self._pragma(setting)
        version = self._pragma("user_version")
        if not (version or self._one("SELECT 1 FROM sqlite_master")):
            for setting in (
                f"page_size={PAGE_SIZE}",
                "auto_vacuum=INCREMENTAL",
                "journal_mode=WAL",
            ):
                self._pragma(setting)
            with self._transaction():
                for statement in tables.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO file VALUES (?)", (secrets.token_hex(8),))
                self._pragma(f"application_id={_APPLICATION_ID}")
                self._pragma(f"user_version={SCHEMA}")
        elif version != SCHEMA or self._pragma("application_id") != _APPLICATION_ID:
            text = f"{self.path}: a database of another program or of another version (schema"
            raise StoreError(Reason.FOREIGN, f"{text} {version}; supported: {SCHEMA})")
        else:
            verify_schema(self._connection, self.path, tables)
        self._pragma("journal_mode=WAL")
        self._pragma("wal_autocheckpoint=0")  # an automatic checkpoint does not report failures
        self._pragma(f"max_page_count={self._max_pages}")
        self.token = str(self._one("SELECT token FROM file"))
        if not _TOKEN.fullmatch(self.token):
            raise StoreError(Reason.FOREIGN, f"{self.path}: not written by this program")

    def vacuum(self) -> None:
        """Return unused pages to the file system, some at a time."""
        with self._access():
            self._vacuum(RESERVED_PAGES)
            self._update_size()

    def check_path(self) -> None:
        """Check that the path still leads to this file and this log."""
        try:
            found = file_id(self.path)
        except FileNotFoundError:
            raise StoreError(Reason.GONE, f"{self.path}: deleted while it was in use") from None
        if found != self.file_id:
            raise StoreError(Reason.GONE, f"{self.path}: replaced while it was in use")
        if self.bytes and not self._log_path.exists():
            raise StoreError(Reason.IO, f"{self._log_path}: deleted while it was in use")

    def _verify_log(self) -> None:
        """Check that no other user can have written the log, which may have been planted after the
        first check, just before SQLite opened it."""
        _verify_companions(self.path)
        with suppress(FileNotFoundError):
            if not _is_open(file_id(self._log_path)):
                raise StoreError(Reason.GONE, f"{self._log_path}: replaced while it was opened")

    def close(self) -> None:
        """Close the file. Does not raise."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def abandon(self) -> None:
        """Close a file that is no longer at its path. Delete its log if that is still there: SQLite
        would apply it to the next file at the path."""
        if self._log is not None:
            with suppress(OSError):
                if file_id(self._log_path) == self._log:
                    self._log_path.unlink()
        self.close()

    def destroy(self) -> None:
        """Delete the file, then close it, so that no other process can lock it before."""
        with self._access():
            self._pragma("journal_mode=DELETE")
            self.path.unlink()
        self.close()

    def _vacuum(self, reserved: int) -> None:
        spare = self._pragma("freelist_count") - reserved
        if spare > 0:
            self._shorten_log()
            # As a script: `execute` runs only the first step of this pragma, which is one page.
            self._connection.executescript(
                f"PRAGMA incremental_vacuum({min(spare, _VACUUM_PAGES)})"
            )
            self._shorten_log()

    @contextmanager
    def _access(self) -> Iterator[None]:
        with translated(self.path):
            self.check_path()
            self._limit_steps()
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Run a transaction, which is committed or rolled back."""
        with self._access():
            # Before the transaction, so that a failure does not look like a failed commit.
            self._shorten_log(self._log_limit)
            with self._transaction():
                yield
        with suppress(OSError):
            self._update_size()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _shorten_log(self, limit: int = 0) -> None:
        with suppress(FileNotFoundError):
            if self._log_path.stat().st_size > limit:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _update_size(self) -> None:
        log = self._log_path.lstat()
        self._log = log.st_dev, log.st_ino
        file = self.path.lstat()
        self._used_pages = _used_pages(file) + _used_pages(log)
        self.bytes = file.st_size + log.st_size

    def _limit_steps(self) -> None:
        """Let the next operation make as many steps as a file of this size may need."""
        self._calls_left = _MIN_CALLS + self._used_pages // _PAGES_PER_CALL

    def _is_endless(self) -> bool:
        self._calls_left -= 1
        return self._calls_left < 0

    def _pragma(self, text: str) -> Any:
        return self._one(f"PRAGMA {text}")

    def _one(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return row[0] if row else None


def connect(path: Path, mode: str = "rw") -> tuple[sqlite3.Connection, FileId]:
    """Open a file that no other user can have written; return its identity as well. Nothing has
    been read from it.

    Raises:
        ForeignFileError: another user may have written it, or a file that SQLite opens with it.
        StoreError: it is not a regular file.
        OSError, sqlite3.Error: it cannot be opened.
    """
    status = path.lstat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise StoreError(Reason.IO, f"{path}: not a regular file")
    own_files.verify(path, status)
    _verify_companions(path)
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        opened = status.st_dev, status.st_ino
        if not _is_open(opened):  # SQLite follows a link that has replaced the file
            raise StoreError(Reason.GONE, f"{path}: replaced while it was being opened")
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * MAX_ROW_BYTES)
        connection.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        connection.close()
        raise
    return connection, opened


def _verify_companions(path: Path) -> None:
    for suffix in COMPANION_SUFFIXES:
        with suppress(FileNotFoundError):
            companion = Path(f"{path}{suffix}")
            own_files.verify(companion, companion.lstat())


def verify_schema(connection: sqlite3.Connection, path: Path, tables: str) -> None:
    """Check that the schema is exactly this one. Raises StoreError and sqlite3.Error."""
    with closing(sqlite3.connect(":memory:")) as reference:
        reference.executescript(tables)
        expected = reference.execute(_SCHEMA_QUERY).fetchall()
    layout = [
        connection.execute(f"PRAGMA {each}").fetchone() for each in ("page_size", "auto_vacuum")
    ]
    if (
        layout != [(PAGE_SIZE,), (_INCREMENTAL,)]
        or connection.execute(_SCHEMA_QUERY).fetchall() != expected
    ):
        raise StoreError(Reason.FOREIGN, f"{path}: the tables are not those of this program")


def _used_pages(status: os.stat_result) -> int:
    """Return the size of a file in pages, without its holes, which cost nothing."""
    return status.st_blocks * 512 // PAGE_SIZE


def _is_open(file: FileId) -> bool:
    """Return whether this process has opened a file."""
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed in the meantime
            status = os.stat(f"/proc/self/fd/{descriptor}")
            if (status.st_dev, status.st_ino) == file:
                return True
    return False


def _create(path: Path) -> None:
    """Create the directory and an empty file if missing, accessible to this user only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # An existing file is not opened: closing it would release this process' lock on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
