"""Small file systems for one test, where the tests may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """Mount an empty file system of this size; skip the test if that is not possible."""
    if not _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder)):
        pytest.skip("mounting requires root")
    try:
        yield
    finally:
        # Lazily: a failed test may still have a file open there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled_file_system(folder: Path) -> Iterator[None]:
    """Leave no space on the file system of a folder until the end of the context."""
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
    """Make a file system read-only (`ro`) or writable (`rw`)."""
    assert _mount("-o", f"remount,{how}", str(folder))


def own_service_account(folder: Path) -> list[str]:
    """Return a command prefix that runs a command in a pod with this service account.

    Skips the test where mounting is not permitted.
    """
    script = (
        "mount -t tmpfs none /var/run; mkdir -p /var/run/secrets/kubernetes.io/serviceaccount; "
        'mount --bind "$0" /var/run/secrets/kubernetes.io/serviceaccount; exec "$@"'
    )
    prefix = ["unshare", "--mount", "sh", "-euc", script, str(folder)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting requires root")
    return prefix


def own_dev(folder: Path, *names: str, driver: Sequence[str] = ()) -> list[str]:
    """Return a command prefix that runs a command with only these and the standard devices in /dev.

    The devices are empty files, which suffices for programs that list devices without opening them.
    sysfs has the devices of `driver`, if there are any. Skips the test where mounting is not
    permitted.
    """
    listed = " ".join(f"/sys/class/neuron_device/{name}" for name in driver)
    sysfs = f"mount -t tmpfs none /sys/class; mkdir -p {listed}; " if driver else ""
    script = sysfs + (
        'dev=$0; n=$1; shift; mount -t tmpfs none "$dev"; '
        'for usual in null zero full random urandom; do : >"$dev/$usual"; '
        'mount --bind "/dev/$usual" "$dev/$usual"; done; '
        'while [ "$n" -gt 0 ]; do : >"$dev/$1"; shift; n=$((n - 1)); done; '
        'mount --rbind "$dev" /dev; exec "$@"'
    )
    prefix = ["unshare", "--mount", "sh", "-euc", script, str(folder), str(len(names)), *names]
    seen = subprocess.run([*prefix, "ls", "/dev"], capture_output=True, text=True, check=False)
    if seen.returncode != 0:
        pytest.skip("mounting requires root")
    assert set(names) <= set(seen.stdout.split())
    return prefix
