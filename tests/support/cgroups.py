"""Real processes in cgroups named as container runtimes name them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest

from tests.support.waiting import wait_for


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


@contextmanager
def memory_group(limit: int) -> Iterator[list[str]]:
    """Yield a command prefix that runs a command in a new cgroup with a memory limit (bytes).

    Skips the test where such a cgroup cannot be created.
    """
    limits = ("memory.max", "memory.limit_in_bytes")
    for root, name in product(_hierarchies(), limits):
        folder = root / f"neuron-exporter-test-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
        try:
            (folder / name).write_text(str(limit))
            break
        except OSError:
            with suppress(OSError):
                folder.rmdir()
    else:
        pytest.skip("cgroups with a memory limit cannot be created (not root, or read-only)")
    try:
        yield ["sh", "-euc", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(folder)]
    finally:
        wait_for(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()
