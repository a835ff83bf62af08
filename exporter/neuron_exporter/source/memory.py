"""The memory of the exporter's control group: its limit, and how much of it is in use."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_UNLIMITED = 2**60


class LimitedGroup(NamedTuple):
    """The control group whose memory limit (bytes) is the lowest on this process."""

    limit: int
    folder: Path
    is_v1: bool

    def used(self) -> float:
        """Return the bytes that all processes of the group use; NaN if they are unknown.

        Files that the kernel can drop from its cache do not count, as in the working set of the
        kubelet: a group at its limit by them is not out of memory
        (https://kubernetes.io/examples/admin/resource/memory-available.sh).
        """
        usage, cache = "memory.current", "inactive_file"
        if self.is_v1:
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        try:
            used = int((self.folder / usage).read_text())
            lines = (self.folder / "memory.stat").read_text().splitlines()
            return float(max(0, used - int(dict(map(str.split, lines))[cache])))
        except (OSError, ValueError, KeyError):
            return math.nan


def limited_group(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> LimitedGroup | None:
    """Return the group with the lowest memory limit on this process, or None if there is none.

    Reads cgroup v2 and v1, from the process's own group up to the visible root.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines() if line]
    except OSError:
        lines = []
    groups = []
    for _, controllers, own in lines:
        top, name = root, "memory.max"
        if controllers:  # of cgroup v1
            top, name = root / "memory", "memory.limit_in_bytes"
            if "memory" not in controllers.split(","):
                continue
        group = Path(own.lstrip("/"))
        for each in (group, *group.parents):
            folder = top / each
            with suppress(OSError):
                text = (folder / name).read_text().strip()
                if text.isdigit() and int(text) < _UNLIMITED:
                    groups.append(LimitedGroup(int(text), folder, bool(controllers)))
    return min(groups, default=None)


def memory_limit() -> int | None:
    """Return the lowest memory limit on this process in bytes, or None if there is none."""
    group = limited_group()
    return None if group is None else group.limit
