"""Small file systems of one test, where the tests may mount."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


def remount(folder: Path, how: str) -> None:
    """Make a file system read-only (`ro`), or writable again (`rw`)."""
    assert _mount("-o", f"remount,{how}", str(folder))
