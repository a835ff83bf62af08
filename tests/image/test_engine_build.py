"""The Dockerfile, built by a real Docker daemon with BuildKit."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.image.conftest import write_archive
from tests.support.container import BUILT, Image
from tests.support.docker_engine import Engine
from tests.support.http import serving
from tests.support.paths import ROOT

pytestmark = pytest.mark.image

BASE = "localhost/python-base:bookworm"
BUILT_HERE = "neuron-exporter:built"


class Wheels(SimpleHTTPRequestHandler):
    """HTTP handler that serves the locked wheels."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=str(BUILT / "wheels"))  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def client_with_buildkit(engine: Engine) -> str:
    """Return a `docker` that can use BuildKit: one older than 23, or one with the plugin buildx."""
    found = [shutil.which("docker", path=each) for each in os.environ["PATH"].split(os.pathsep)]
    for program in filter(None, found):
        ask = partial(subprocess.run, capture_output=True, text=True, env=engine.environment)
        version = ask([program, "version", "--format={{.Client.Version}}"]).stdout
        if (
            int(version.partition(".")[0]) < 23
            or ask([program, "buildx", "version"]).returncode == 0
        ):
            return program
    missing("no docker on PATH can use BuildKit (Debian: docker.io)")
    raise AssertionError


def test_docker_build(image: Image, engine: Engine, tmp_path: Path) -> None:
    """`docker build` makes the same image as Buildah does, and the program in it runs."""
    engine.output("load", "--input", str(write_archive("base-image", BASE, tmp_path)))
    configuration = tmp_path / "pip.conf"
    with serving(Wheels) as url:
        configuration.write_text(f"[global]\nno-index = true\nfind-links = {url}/\n")
        done = subprocess.run(
            [
                *(client_with_buildkit(engine), "build", "--network=host"),
                *("--file=docker/exporter/Dockerfile", f"--tag={BUILT_HERE}"),
                *(f"--build-arg=PYTHON_IMAGE={BASE}", "--build-arg=NEURON_TOOLS=none"),
                *("--build-arg=REVISION=1234567", f"--secret=id=pip.conf,src={configuration}"),
                ".",
            ],
            cwd=ROOT,
            env={**engine.environment, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    shown = engine.output("run", "--rm", "--network=none", BUILT_HERE, "run", "--version")
    assert "(revision: 1234567)" in shown
    built = engine.configuration(BUILT_HERE)
    for key in (
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "User",
        "Volumes",
        "WorkingDir",
    ):
        assert built.get(key) == image.config.get(key), key
