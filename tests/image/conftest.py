"""Fixtures of the image tests."""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.container import BUILT, Image, built_image
from tests.support.docker_engine import IMAGE, Engine, EngineUnavailable, docker_engine
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def image() -> Image:
    """Return the image that `make test-image` built."""
    if os.geteuid() != 0:
        missing("the image's tests need root")
    try:
        return built_image()
    except FileNotFoundError:
        missing("the image is not built (make test-image)")
        raise


def write_archive(name: str, tag: str, folder: Path) -> Path:
    """Write the archive of an image that was built (image, base-image) as a release does."""
    release = runpy.run_path(str(ROOT / ".ci" / "release.py"))
    path = folder / f"{name}.tar"
    path.write_bytes(release["tar_of"](release["image_archive"](BUILT / name, tag), 0))
    return path


@pytest.fixture(scope="session")
def engine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start a Docker daemon and load the image."""
    for program in ("dockerd", "docker"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (Debian: docker.io)")
    try:
        with docker_engine(tmp_path_factory.mktemp("docker")) as started:
            archive = write_archive("image", IMAGE, tmp_path_factory.mktemp("archive"))
            started.output("load", "--input", str(archive))
            yield started
    except EngineUnavailable as error:
        missing(f"no Docker daemon runs here: {error}")


@pytest.fixture
def network(engine: Engine) -> Iterator[str]:
    """Create a network of the engine, with a bridge on this machine, and return its name."""
    created = engine.run("network", "create", "exporter")
    if created.returncode != 0:
        missing(f"the Docker daemon cannot create a network: {created.stderr.strip()}")
    yield "exporter"
    engine.output("network", "rm", "exporter")
