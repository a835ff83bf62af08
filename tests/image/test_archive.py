"""The archive of the image that a release contains."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path

import pytest

from tests.support.container import BUILT, Image
from tests.support.paths import ROOT

pytestmark = pytest.mark.image

NAME = "neuron-exporter:archived"


def test_an_engine_reads_the_archive(image: Image, tmp_path: Path) -> None:
    """Buildah reads name, layers, labels and health check, and runs the program in it."""
    release = runpy.run_path(str(ROOT / ".ci" / "release.py"))
    files = release["image_archive"](BUILT / "image", NAME)
    archive = tmp_path / "image.tar"
    archive.write_bytes(release["tar_of"](files, 0))

    def buildah(*arguments: str) -> str:
        storage = [f"--root={tmp_path}/storage", f"--runroot={tmp_path}/run"]
        command = ["buildah", *storage, "--storage-driver=vfs", *arguments]
        return subprocess.check_output(command, text=True, env={"PATH": os.environ["PATH"]})

    buildah("pull", "-q", f"oci-archive:{archive}")
    read = json.loads(buildah("inspect", "--type=image", NAME))["Docker"]
    assert read["config"]["Labels"] == image.config["Labels"]
    assert read["config"]["Healthcheck"] == image.config["Healthcheck"]
    container = buildah("from", "--pull-never", NAME).strip()
    done = buildah("run", "--isolation=chroot", container, "--", "neuron-exporter", "--version")
    assert "(revision: 0000000)" in done
    (loaded,) = json.loads(files["manifest.json"])
    assert loaded["RepoTags"] == [NAME]
    assert {loaded["Config"], *loaded["Layers"]} < files.keys()
