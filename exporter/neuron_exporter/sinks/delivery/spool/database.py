"""A spool's database: SQLite in WAL mode, locked for as long as it is open.

Any SQLite that Python 3.11 takes (3.7.15) has what this needs; Debian bookworm has 3.40. With
`locking_mode=EXCLUSIVE` set before the first access SQLite needs no shared memory, so that file
systems without it serve as well, and another process is told "database is locked". The kernel frees
the lock when the process ends, however it ends.

`synchronous=FULL` syncs the log at each commit: what was committed survives a kill and a loss of
power, if the disk tells the truth about its syncs. With NORMAL a loss of power would take back the
last commits, and with them the marks of requests that were delivered, each of which would be sent
again. It costs a sync for each change of state.

The size on disk is the file's and its log's. The file has a number of pages that SQLite itself does
not exceed; the log is written back and cut before a change once it is longer than an eighth of its
share, and no change is larger than the rest. What the file does not need is given back by and by
(`auto_vacuum=INCREMENTAL`, which has to be set before there are tables).

No other code of this process may open and close the file: by POSIX, that frees the lock.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from neuron_exporter.sinks.delivery.spool.error import Reason, StoreError
from neuron_exporter.sinks.delivery.spool.paths import Identity, identity

SCHEMA = 1
"""Rises when the tables change; a file with a newer one is set aside, not read."""

KEPT_FREE = 1024
"""Pages without content that stay in the file for what comes next."""

PAGE = 1024
"""Bytes; a packed request has about as many."""

_APPLICATION = 0x4E455854
_LOG_SHARE = 1 / 4
_SHORT_LOG = 64 * 1024
_LONGEST_LOG = 4 * 2**20
_LARGEST_LOG_SHARE = 9 / 16  # so that every page of a small file can be in its log once
_BUSY_SECONDS = 0.1
_TIDIED_PAGES = 1024

_BY_SQLITE = {
    sqlite3.SQLITE_CORRUPT: Reason.CORRUPT,
    sqlite3.SQLITE_NOTADB: Reason.CORRUPT,
    sqlite3.SQLITE_READONLY: Reason.READ_ONLY,
    sqlite3.SQLITE_PERM: Reason.READ_ONLY,
    sqlite3.SQLITE_FULL: Reason.FULL,
    sqlite3.SQLITE_BUSY: Reason.LOCKED,
    sqlite3.SQLITE_LOCKED: Reason.LOCKED,
}
_BY_SYSTEM = {
    errno.EROFS: Reason.READ_ONLY,
    errno.EACCES: Reason.READ_ONLY,
    errno.EPERM: Reason.READ_ONLY,
    errno.ENOSPC: Reason.FULL,
    errno.EDQUOT: Reason.FULL,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Whatever SQLite or the system says becomes a `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        reason = _BY_SQLITE.get(code, Reason.IO)
        if reason is Reason.IO and not os.access(path.parent, os.W_OK):
            reason = Reason.READ_ONLY  # SQLite says only that it could not open the log
        raise StoreError(reason, f"{path}: {error} ({name})") from error
    except OSError as error:
        reason = _BY_SYSTEM.get(error.errno or 0, Reason.IO)
        raise StoreError(reason, f"{error.filename or path}: {error.strerror}") from error


class Database:
    """An open, locked database; for one thread, but for `bytes`, its size with its log.

    `largest` is how many bytes of rows may be written in one transaction.
    """

    def __init__(self, path: Path, max_bytes: int, tables: str, *, create: bool) -> None:
        """Open the file, and lock it. An empty or, if `create`, a missing one gets its tables."""
        self.path = path
        self.bytes = 0
        self._log: Identity | None = None
        self._log_path = Path(f"{path}-wal")
        log = min(max(int(max_bytes * _LOG_SHARE), _SHORT_LOG), _LONGEST_LOG)
        log = min(log, int(max_bytes * _LARGEST_LOG_SHARE))
        self._longest_log = log // 8
        self._pages = (max_bytes - log) // PAGE
        self.largest = min(log // 4, self._pages * PAGE // 4)
        with translated(path):
            if create:
                _create(path)
            self.identity = identity(path)
            if not path.is_file():
                raise StoreError(Reason.IO, f"{path}: not a regular file")
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            with translated(path):
                self._prepare(tables)
                self.check()
                self._measure()
        except BaseException:
            self.close()
            raise

    def _prepare(self, tables: str) -> None:
        for setting in (
            "locking_mode=EXCLUSIVE",
            "cell_size_check=ON",
            "trusted_schema=OFF",
            "secure_delete=OFF",  # it would write what is deleted once more
            "synchronous=FULL",
            "cache_size=-512",
        ):
            self._pragma(setting)
        version = self._pragma("user_version")
        if not (version or self._one("SELECT count(*) FROM sqlite_master")):
            for setting in (f"page_size={PAGE}", "auto_vacuum=INCREMENTAL", "journal_mode=WAL"):
                self._pragma(setting)
            with self._transaction():
                for statement in tables.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO file VALUES (?)", (secrets.token_hex(8),))
                self._pragma(f"application_id={_APPLICATION}")
                self._pragma(f"user_version={SCHEMA}")
        elif version != SCHEMA or self._pragma("application_id") != _APPLICATION:
            text = f"{self.path}: a database of another program or of a newer version (schema"
            raise StoreError(Reason.FOREIGN, f"{text} {version}; this one knows {SCHEMA})")
        self._pragma("journal_mode=WAL")
        self._pragma("wal_autocheckpoint=0")  # it would not say that it failed
        self._pragma(f"max_page_count={self._pages}")
        self.token = str(self._one("SELECT token FROM file"))

    def tidy(self) -> None:
        """Give pages that are not needed back to the file system, some at a time."""
        with self._asked():
            self._vacuum(KEPT_FREE)
            self._measure()

    def check(self) -> None:
        """See that the path still leads to this file and this log."""
        try:
            if identity(self.path) == self.identity:
                if not self.bytes or self._log_path.exists():
                    return
                raise StoreError(Reason.IO, f"{self._log_path}: deleted while it was in use")
        except FileNotFoundError:
            raise StoreError(Reason.GONE, f"{self.path}: deleted while it was in use") from None
        raise StoreError(Reason.GONE, f"{self.path}: replaced while it was in use")

    def close(self) -> None:
        """Let go of the file. Does not raise."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def abandon(self) -> None:
        """Let go of a file that is no longer at its path. A log left there is deleted: it would
        be applied to whatever comes to that path."""
        if self._log is not None:
            with suppress(OSError):
                if identity(self._log_path) == self._log:
                    self._log_path.unlink()
        self.close()

    def destroy(self) -> None:
        """Delete the file and let go of it: in this order, so that nobody locks it in between."""
        with self._asked():
            self._pragma("journal_mode=DELETE")
            self.path.unlink()
        self.close()

    def _vacuum(self, kept_free: int) -> None:
        spare = self._pragma("freelist_count") - kept_free
        if spare > 0:
            self._shorten_log()
            # As a script: `execute` takes the first step of this pragma only, which is one page.
            self._connection.executescript(
                f"PRAGMA incremental_vacuum({min(spare, _TIDIED_PAGES)})"
            )
            self._shorten_log()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with translated(self.path):
            self.check()
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction; committed, or as if it had not been."""
        with self._asked():
            # Before it, so that a failure does not look like one of what was committed.
            self._shorten_log(self._longest_log)
            with self._transaction():
                yield
        with suppress(OSError):
            self._measure()

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

    def _shorten_log(self, longest: int = 0) -> None:
        with suppress(FileNotFoundError):
            if self._log_path.stat().st_size > longest:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _measure(self) -> None:
        log = self._log_path.stat()
        self._log = log.st_dev, log.st_ino
        self.bytes = self.path.stat().st_size + log.st_size

    def _pragma(self, text: str) -> Any:
        return self._one(f"PRAGMA {text}")

    def _one(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return row[0] if row else None


def _create(path: Path) -> None:
    """Make the folder and an empty file, where they are missing, for this user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # Never opened if it exists: closing it would free a lock that this process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
