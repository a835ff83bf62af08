"""Location of spool files: the configured path, orphans beside it, and quarantined files.

With the placeholders `{task_id}` and `{pod_uid}` in the path, each task has a file of its own on a
shared volume. A value that is not known, or not a plain name, becomes `unknown`. Several exporters
may have this path: the one that gets the lock uses the file. The file may become an orphan as well.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLACEHOLDERS = ("task_id", "pod_uid")

UNKNOWN = "unknown"

ORPHAN_AGE = 600.0
"""Seconds without a change after which an unlocked file is an orphan."""

MAX_QUARANTINED = 2
"""Number of quarantined files that are kept, the newest."""

FileId = tuple[int, int]
"""Device and inode."""

Destination = tuple[str, str]
"""Namespace and region of the requests that an exporter sends."""

COMPANION_SUFFIXES = ("-wal", "-shm", "-journal")
"""What SQLite appends to the path of a database for its other files."""

_NAME = r"[A-Za-z0-9_-]{1,128}"
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """Parameters of a spool on disk, as in `Spool`."""

    path: Path
    template: str
    max_bytes: int
    destination: Destination
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sink: str


def problem(template: str) -> str:
    """Return what is wrong with a configured path; empty if it is valid."""
    unknown = [name for name in _BRACES.findall(template) if name not in PLACEHOLDERS]
    if unknown or set("{}") & set(_BRACES.sub("", template)):
        allowed = " and ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        return f"may contain the placeholders {allowed}, and no other braces (got {template!r})"
    # A relative path depends on the working directory, and ~ is not expanded.
    if not template.startswith("/") or template.rpartition("/")[2] in ("", ".", ".."):
        return f"must be the absolute path of a file (got {template!r})"
    if os.path.isdir(template):
        return f"must be the absolute path of a file, not of a directory (got {template!r})"
    return ""


def expand(template: str, values: Mapping[str, str]) -> Path:
    """Return the path with its placeholders replaced."""

    def value(match: re.Match[str]) -> str:
        name = values.get(match[1], "")
        return name if re.fullmatch(_NAME, name) else UNKNOWN

    return Path(_BRACES.sub(value, template))


def orphans(template: str, own: Path, now: float) -> list[Path]:
    """Return the files that match the template and have not changed for `ORPHAN_AGE` before `now`
    (Unix seconds), the longest unchanged first. They may still be locked. Links are ignored."""
    template = str(Path(template))
    if not _BRACES.search(template):
        return []
    constant = _BRACES.split(template)[::2]
    pattern = re.compile(_NAME.join(map(re.escape, constant)))
    found = []
    for name in glob.glob("*".join(map(glob.escape, constant))):
        path = Path(name)
        if path == own or name.endswith(COMPANION_SUFFIXES) or not pattern.fullmatch(name):
            continue
        if is_linked(template, path):
            continue
        with suppress(OSError):
            status = path.lstat()
            changed = status.st_mtime
            with suppress(OSError):
                changed = max(changed, Path(f"{path}-wal").lstat().st_mtime)
            if now - changed > ORPHAN_AGE and stat.S_ISREG(status.st_mode):
                found.append((changed, path))
    return [path for _, path in sorted(found)]


def is_linked(template: str, path: Path) -> bool:
    """Return whether a directory above the path is a link, where the template leaves its name open.
    Links in the rest of the template are configured."""
    parts = Path(template).parent.parts
    return any(
        "{" in part and Path(*path.parts[:number]).is_symlink()
        for number, part in enumerate(parts, 1)
    )


def file_id(path: Path) -> FileId:
    """Return the identity of the file at a path, or of the link there. Raises OSError."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def quarantine(path: Path, reason: str, now: float, expected: FileId) -> Path | None:
    """Rename an unusable file and its companions to `PATH.REASON-SECONDS`; return the new name.

    Return None if another exporter is doing the same, or has done it: the path then leads to
    another file than `expected`. Raises OSError.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another exporter is doing the same
            return None
        except OSError:  # some network file systems cannot lock directories
            pass
        if file_id(path) != expected:
            return None
        renamed = Path(f"{path}.{reason}-{int(now)}")
        # Companions first: one of another user may not be movable, and would spoil the next file.
        for suffix in COMPANION_SUFFIXES:
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{renamed}{suffix}")
        path.rename(renamed)
        _delete_old_quarantined(path)
    finally:
        os.close(folder)
    return renamed


def _delete_old_quarantined(path: Path) -> None:
    pattern = re.compile(re.escape(path.name) + r"\.[a-z]+-(\d+)")
    quarantined = sorted(
        (int(matched[1]), each)
        for each in path.parent.iterdir()
        if (matched := pattern.fullmatch(each.name))
    )
    for _, old in quarantined[:-MAX_QUARANTINED]:
        for suffix in ("", *COMPANION_SUFFIXES):
            with suppress(OSError):  # it may be a directory
                Path(f"{old}{suffix}").unlink()
