"""Why a spool file cannot be used, in a closed list. Free of SQLite, for those who have no file."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a spool file cannot be used."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    """A database of another program, or of a newer version of this one."""
    READ_ONLY = "read_only"
    FULL = "full"
    LOCKED = "locked"
    GONE = "gone"
    """Deleted, or another file is in its place."""
    IO = "io"


class StoreError(Exception):
    """A spool file cannot be used; the one error that a store raises."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
