"""Reasons why a spool file cannot be used."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from neuron_exporter import own_files


class Reason(StrEnum):
    """Reason why a spool file cannot be used."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    """A link, a file of another user, or a database of another program or of a newer version."""
    READ_ONLY = "read_only"
    FULL = "full"
    LOCKED = "locked"
    GONE = "gone"
    """Deleted, or replaced by another file."""
    IO = "io"


class StoreError(Exception):
    """A spool file cannot be used: the only error of a store. If `unusable`, a retry is futile."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.unusable = reason in (Reason.CORRUPT, Reason.FOREIGN)


_BY_SQLITE = {
    sqlite3.SQLITE_CORRUPT: Reason.CORRUPT,
    sqlite3.SQLITE_INTERRUPT: Reason.CORRUPT,  # too many steps
    sqlite3.SQLITE_TOOBIG: Reason.CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: Reason.CORRUPT,  # a damaged table repeats ids
    sqlite3.SQLITE_NOTADB: Reason.CORRUPT,
    sqlite3.SQLITE_READONLY: Reason.READ_ONLY,
    sqlite3.SQLITE_PERM: Reason.READ_ONLY,
    sqlite3.SQLITE_FULL: Reason.FULL,
    sqlite3.SQLITE_BUSY: Reason.LOCKED,
    sqlite3.SQLITE_LOCKED: Reason.LOCKED,
}
_BY_ERRNO = {
    errno.EROFS: Reason.READ_ONLY,
    errno.EACCES: Reason.READ_ONLY,
    errno.EPERM: Reason.READ_ONLY,
    errno.ENOSPC: Reason.FULL,
    errno.EDQUOT: Reason.FULL,
}


@contextmanager
def translated(path: Path, unspecific: Reason = Reason.IO) -> Iterator[None]:
    """Translate errors of SQLite and the system to `StoreError`. `unspecific` is the reason of
    SQLite's unspecific error."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        reason = unspecific if code == sqlite3.SQLITE_ERROR else _BY_SQLITE.get(code, Reason.IO)
        if reason is Reason.IO and not os.access(path.parent, os.W_OK):
            reason = Reason.READ_ONLY  # SQLite reports only that it could not open the log
        raise StoreError(reason, f"{path}: {error} ({name})") from error
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        raise StoreError(Reason.CORRUPT, f"{path}: the schema is damaged") from error
    except own_files.ForeignFileError as error:
        raise StoreError(Reason.FOREIGN, f"{error.filename} {error.strerror}") from error
    except OSError as error:
        reason = _BY_ERRNO.get(error.errno or 0, Reason.IO)
        raise StoreError(reason, f"{error.filename or path}: {error.strerror}") from error
