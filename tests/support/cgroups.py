"""Real processes in cgroups that are named as container runtimes name them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _hierarchies() -> list[Path]:
    """Where cgroups are mounted, those of version 2 first."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    named = [(kind, Path(folder)) for _, folder, kind, *_ in mounts if kind.startswith("cgroup")]
    return [folder for _, folder in sorted(named, reverse=True)]


@contextmanager
def process_in(path: str) -> Iterator[int]:
    """A process in a new cgroup; the test is skipped where none can be made."""
    for root in _hierarchies():
        folder = root / path.lstrip("/")
        try:
            folder.mkdir(parents=True)
            break
        except OSError:
            continue
    else:
        pytest.skip("the tests may not make cgroups (they are not run by root, or it is read-only)")
    process = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    try:
        (folder / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.wait()
        while folder != root:  # what others have there stays
            with suppress(OSError):
                folder.rmdir()
            folder = folder.parent
