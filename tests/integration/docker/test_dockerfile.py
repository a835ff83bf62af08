"""The image's Dockerfile and scripts, as their linter and a shell read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "docker" / "exporter"


def test_hadolint_finds_nothing() -> None:
    """What the linter of Dockerfiles would do otherwise is explained beside the line."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_for_any_shell(script: Path) -> None:
    """What runs in the build and in the container can be read by a plain sh."""
    subprocess.run(["sh", "-n", script], check=True)


def test_every_script_that_the_image_runs_is_copied() -> None:
    """A script beside the Dockerfile is in the image, or used in its build."""
    text = (FOLDER / "Dockerfile").read_text()
    for path in FOLDER.iterdir():
        if path.name != "Dockerfile":
            assert f"docker/exporter/{path.name}" in text, path.name
