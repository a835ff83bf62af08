"""Real processes in cgroups named as container runtimes name them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _hierarchies() -> list[Path]:
    """Return the folders where cgroups are mounted, version 2 first."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    named = [(kind, Path(folder)) for _, folder, kind, *_ in mounts if kind.startswith("cgroup")]
    return [folder for _, folder in sorted(named, reverse=True)]


@contextmanager
def process_in(path: str) -> Iterator[int]:
    """Run a process in a new cgroup; skip the test if cgroups cannot be created."""
    for root in _hierarchies():
        folder = root / path.lstrip("/")
        try:
            folder.mkdir(parents=True)
            break
        except OSError:
            continue
    else:
        pytest.skip("cgroups cannot be created (not root, or read-only)")
    process = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    try:
        (folder / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.wait()
        while folder != root:  # leave folders in use by others
            with suppress(OSError):
                folder.rmdir()
            folder = folder.parent
