"""Where spool files are: their path, the orphans beside them, and what was set aside.

`{task_id}` and `{pod_uid}` in the path give each task its own file on a volume that tasks share. A
value that is not known, or that is no plain name, is replaced by `unknown`: the file is then
shared, the lock lets one exporter have it, and whoever knows its own name adopts it later.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PLACEHOLDERS = ("task_id", "pod_uid")

UNKNOWN = "unknown"

ORPHAN_AGE = 600.0
"""Seconds without a change after which a file that nobody has locked is an orphan."""

MOST_ASIDE = 2
"""Files that are kept of those that were set aside, the newest."""

Identity = tuple[int, int]
"""Device and inode."""

_NAME = r"[A-Za-z0-9_-]{1,128}"
_BRACES = re.compile(r"\{([^{}]*)\}")
_BESIDE = ("-wal", "-shm", "-journal")


def problem(template: str) -> str:
    """What is wrong with a configured path; empty if nothing is."""
    unknown = [name for name in _BRACES.findall(template) if name not in PLACEHOLDERS]
    if unknown or set("{}") & set(_BRACES.sub("", template)):
        allowed = " and ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        return f"may hold the placeholders {allowed}, and no other braces (got {template!r})"
    # A relative path, or ~, would lead elsewhere from another working folder.
    if not template.startswith("/") or template.rpartition("/")[2] in ("", ".", ".."):
        return f"must be the absolute path of a file (got {template!r})"
    if os.path.isdir(template):
        return f"must be the absolute path of a file, and this is a folder (got {template!r})"
    return ""


def expand(template: str, values: Mapping[str, str]) -> Path:
    """The path with its placeholders replaced."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1], "")
        return known if re.fullmatch(_NAME, known) else UNKNOWN

    return Path(_BRACES.sub(value, template))


def orphans(template: str, own: Path, now: float) -> list[Path]:
    """Files that the template could stand for and that have not changed for `ORPHAN_AGE` before
    `now` (Unix seconds), the longest unchanged first. Whether they are locked is not known yet."""
    template = str(Path(template))
    if not _BRACES.search(template):
        return []
    constant = _BRACES.split(template)[::2]
    pattern = re.compile(_NAME.join(map(re.escape, constant)))
    found = []
    for name in glob.glob("*".join(map(glob.escape, constant))):
        path = Path(name)
        if path == own or name.endswith(_BESIDE) or not pattern.fullmatch(name):
            continue
        with suppress(OSError):
            changed = _last_change(path)
            if now - changed > ORPHAN_AGE and path.is_file():
                found.append((changed, path))
    return [path for _, path in sorted(found)]


def _last_change(path: Path) -> float:
    """When a database or its log was last written, in Unix seconds."""
    stamps = [path.stat().st_mtime]
    with suppress(OSError):
        stamps.append(Path(f"{path}-wal").stat().st_mtime)
    return max(stamps)


def identity(path: Path) -> Identity:
    """Which file a path leads to. Raises OSError."""
    found = path.stat()
    return found.st_dev, found.st_ino


def set_aside(path: Path, reason: str, now: float, which: Identity) -> Path | None:
    """Rename a file that cannot be used, and its log, to `PATH.REASON-SECONDS`; gives the new name.

    Nothing is done if the path does not lead to that file any more: another exporter was faster,
    and the file is its new one. Raises OSError.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another exporter is doing this very thing
            return None
        except OSError:  # some network file systems lock no folders
            pass
        if identity(path) != which:
            return None
        aside = Path(f"{path}.{reason}-{int(now)}")
        path.rename(aside)
        for log in ("-wal", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{path}{log}").rename(f"{aside}{log}")
        _forget_old(path)
    finally:
        os.close(folder)
    return aside


def _forget_old(path: Path) -> None:
    pattern = re.compile(re.escape(path.name) + r"\.[a-z]+-(\d+)")
    aside = sorted(
        (int(matched[1]), each)
        for each in path.parent.iterdir()
        if (matched := pattern.fullmatch(each.name))
    )
    for _, old in aside[:-MOST_ASIDE]:
        for each in (old, Path(f"{old}-wal"), Path(f"{old}-journal")):
            each.unlink(missing_ok=True)
