"""Files that only this user can have written: other users may plant files in a shared directory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from tempfile import TemporaryFile


class ForeignFileError(OSError):
    """The file may have been written by another user. `strerror` is the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))


def verify(path: Path, status: os.stat_result) -> None:
    """Check the status of the file itself, without following a link.

    Raises:
        ForeignFileError: another user may have written the file, or it is not a regular file.
    """
    reason = _problem(path, status)
    if reason:
        raise ForeignFileError(path, reason)


def read(path: Path, max_bytes: int) -> bytes:
    """Return the first bytes of a file.

    Raises:
        ForeignFileError: as `verify`.
        OSError: the file cannot be read.
    """
    if path.is_symlink():
        raise ForeignFileError(path, "is a symbolic link")  # open reports only ELOOP
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        verify(path, os.fstat(descriptor))
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def _problem(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_nlink > 1:
        return "has another name (a hard link)"
    if status.st_uid != os.geteuid() and status.st_uid != _owner_of_new_files(path.parent):
        return f"belongs to user {status.st_uid}, not to {os.geteuid()}"
    # A volume with fsGroup makes its files writable by a group of the container's.
    is_own_group = status.st_gid in (os.getegid(), *os.getgroups())
    if status.st_mode & (stat.S_IWOTH if is_own_group else stat.S_IWOTH | stat.S_IWGRP):
        return f"can be written by other users (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _owner_of_new_files(folder: Path) -> int:
    """Return the owner of a new file: a network file system may replace the user."""
    try:
        with TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return os.geteuid()
