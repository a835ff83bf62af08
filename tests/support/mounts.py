"""Small file systems of one test, where the tests may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """An empty file system of this size at the folder; the test is skipped where that cannot be."""
    if not _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder)):
        pytest.skip("the tests may not mount (they are not run by root)")
    try:
        yield
    finally:
        # Lazily: a test that failed may still have a file open there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled_up(folder: Path) -> Iterator[None]:
    """Leave no space on the file system of a folder, for a while."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    assert os.statvfs(folder).f_bavail == 0
    try:
        yield
    finally:
        ballast.unlink()


def remount(folder: Path, how: str) -> None:
    """Make a file system read-only (`ro`), or writable again (`rw`)."""
    assert _mount("-o", f"remount,{how}", str(folder))
