"""Files that no other user can have written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neuron_exporter.own_files import ForeignFileError, read, verify

OTHER = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file as this program creates it."""
    path = tmp_path / "file"
    path.write_text("content")
    path.chmod(0o600)
    return path


def test_own_file_is_read(file: Path) -> None:
    assert read(file, 100) == b"content"
    assert read(file, 3) == b"con"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda path: os.chown(path, OTHER, 0),
            f"belongs to user {OTHER}, not to 0",
            marks=as_root,
        ),
        (lambda path: path.chmod(0o602), "can be written by other users (mode 0602)"),
        pytest.param(
            lambda path: (os.chown(path, 0, OTHER), path.chmod(0o660)),
            "can be written by other users (mode 0660)",
            marks=as_root,
        ),
        (lambda path: os.link(path, path.parent / "other"), "has another name (a hard link)"),
        (lambda path: path.symlink_to(path.rename(f"{path}.real")), "is a symbolic link"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a regular file"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
    ],
    ids=["owner", "others", "group", "hard link", "link", "pipe", "directory"],
)
def test_file_of_others_is_refused(
    file: Path, change: Callable[[Path], object], reason: str
) -> None:
    change(file)
    for check in (lambda: read(file, 100), lambda: verify(file, file.lstat())):
        with pytest.raises(ForeignFileError) as error:
            check()
        assert error.value.strerror == reason
        assert error.value.filename == str(file)


def test_group_of_the_volume_may_write(file: Path) -> None:
    """Kubernetes makes the files of a volume writable by the group of `fsGroup`."""
    os.chown(file, -1, os.getegid())
    file.chmod(0o660)
    assert read(file, 100) == b"content"


@as_root
def test_file_system_that_replaces_the_owner(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network file system does for root: new files have the same other owner."""
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert read(file, 100) == b"content"
    os.chown(file, OTHER + 1, 0)
    with pytest.raises(ForeignFileError, match="belongs to user"):
        read(file, 100)
