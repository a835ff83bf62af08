"""Clones of this working tree, and the releases that `make release` writes in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.helm import HELM
from tests.support.paths import ROOT

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    **{f"GIT_{role}_NAME": "test" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "test@example.com" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_DATE": "2026-11-01T12:00:00Z" for role in ("AUTHOR", "COMMITTER")},
    "HELM": str(HELM),
}
"""The variables of a release here; its image needs root and minutes (`make test-image`)."""

_OWN = (
    *(".ci", "docker/exporter", "docs", "ecs", "exporter"),
    *("grafana/dashboards", "k8s", "tests/image"),
    *(".gitignore", "LICENSE", "README.md", "pyproject.toml"),
)
"""What a release reads, and what its documents name."""


def clone(folder: Path) -> Path:
    """Commit what a release reads of this working tree to a repository of its own."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "REVISION")
    for name in _OWN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "release"]):
        subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, check=True)
    return folder


def commit_of(clone: Path) -> str:
    """Return the commit that a clone has checked out."""
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=clone, text=True).strip()


def release(clone: Path, version: str) -> subprocess.CompletedProcess[str]:
    """Run what `make release` runs, without a program for images on the PATH."""
    programs = clone.parent / f"{clone.name}-programs"
    programs.mkdir(exist_ok=True)
    for name in ("git", "tar"):
        if not (programs / name).exists():
            (programs / name).symlink_to(str(shutil.which(name)))
    return subprocess.run(
        [sys.executable, clone / ".ci" / "release.py", "write", version],
        env={**ENVIRONMENT, "PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


def share_libraries(environment: Path) -> None:
    """Let a virtual environment use the libraries of this one, in place of the package index."""
    (packages,) = (environment / "lib").glob("*/site-packages")
    line = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})\n"
    (packages / "libraries.pth").write_text(line)
