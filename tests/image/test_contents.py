"""Contents of the image: what must be in it, and what must not."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.container import BUILT, RUN, STATE, Image
from tests.support.paths import ROOT

pytestmark = pytest.mark.image

VENV = "opt/neuron-exporter"


def files(folder: Path) -> Iterator[Path]:
    """Return every file below a folder, without following links."""
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names if not Path(top, name).is_symlink())


def test_nothing_compiles_or_installs(image: Image) -> None:
    """The image has no compiler, linker or pip, nor anything that installs them."""
    programs = {
        entry.name
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", f"{VENV}/bin")
        if (image.root / folder).exists()
        for entry in (image.root / folder).iterdir()
    }
    unwanted = {
        "gcc",
        "cc",
        "c++",
        "g++",
        "clang",
        "ld",
        "as",
        "make",
        "curl",
        "wget",
        "gpg",
        "git",
    }
    assert not programs & unwanted
    assert not [name for name in programs if name.startswith("pip")]
    modules = {path.name for path in image.root.glob("**/python3*/**/") if path.is_dir()}
    assert not modules & {"pip", "setuptools", "ensurepip", "pkg_resources", "wheel"}
    assert not list(image.root.glob("**/*.whl"))


def test_no_setuid_programs(image: Image) -> None:
    """No file is setuid or setgid, and none has capabilities."""
    for path in files(image.root):
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert "security.capability" not in os.listxattr(path), path


def test_no_build_leftovers(image: Image) -> None:
    """Scripts, sources, caches and pip's configuration stay in the build stage."""
    unwanted = (
        "src",
        "slim.sh",
        "install_neuron_tools.sh",
        "etc/pip.conf",
        "root/.cache",
        "run/secrets",
    )
    assert not [name for name in unwanted if (image.root / name).exists()]
    assert not list((image.root / "tmp").iterdir())
    assert not list(image.root.glob(f"{VENV}/**/tests"))
    for volume in (RUN, STATE):
        assert not list((image.root / volume[1:]).iterdir())
        assert (image.root / volume[1:]).stat().st_mode & 0o7777 == 0o1777


def test_everything_is_compiled(image: Image) -> None:
    """Bytecode is compiled in the build: a read-only root cannot store it, and each start would
    compile again."""
    packages = image.root / VENV / "lib"
    sources = [path for path in packages.glob("**/*.py") if path.parent.name != "__pycache__"]
    missing = [
        path
        for path in sources
        if not list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-3*.pyc"))
    ]
    assert len(sources) > 500
    assert not missing


def build_machine_words() -> set[bytes]:
    """Return names and paths of the build machine: its package sources, this checkout, its host
    name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    words = {str(ROOT), socket.gethostname()} if len(socket.gethostname()) > 5 else {str(ROOT)}
    for word in listed.stdout.replace("'", " ").split():
        parts = urllib.parse.urlsplit(word)
        if parts.scheme in ("http", "https") and parts.hostname not in (None, "pypi.org"):
            words.add(str(parts.hostname))
        elif parts.scheme == "file":
            words.add(parts.path)
    return {word.encode() for word in words}


def test_build_machine_is_not_named(image: Image) -> None:
    """No added file and nothing in the configuration names the build machine or its package
    sources."""
    words = build_machine_words()
    for path in files(image.root / VENV):
        content = path.read_bytes()
        assert not [word for word in words if word in content], path
    for path in (BUILT / "image").iterdir():
        if path.stat().st_size < 1_000_000:  # the manifest, and the configuration with its history
            content = path.read_bytes()
            assert not [word for word in words if word in content], path


def test_image_configuration(image: Image) -> None:
    """The image declares entry point, health check, signal, port, volumes and labels."""
    config = image.config
    assert config["Entrypoint"] == [f"/{VENV}/container/entrypoint.sh"]
    assert not config["Cmd"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"9415/tcp"}
    assert set(config["Volumes"]) == {RUN, STATE}
    assert config["Healthcheck"]["Test"] == ["CMD", "neuron-exporter", "healthcheck"]
    assert config["Healthcheck"]["Interval"] == 60 * 10**9
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
    }
    assert labels["title"] == "Neuron Exporter"
    assert labels["version"] == "test"
    assert labels["revision"] == "0000000"
    assert labels["source"] == labels["url"] == "https://example.com/neuron-exporter"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["created"])
    assert labels["base.name"] == "localhost/python-base:bookworm"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", labels["base.digest"])
    assert labels["licenses"] == "Apache-2.0"


def test_botocore_services(image: Image) -> None:
    """The image has botocore's data for the services that are called, and no other."""
    (data,) = image.root.glob(f"{VENV}/lib/python3*/site-packages/botocore/data")
    assert {path.name for path in data.iterdir() if path.is_dir()} == {"cloudwatch", "ecs", "sts"}
    partitions = json.loads((data / "partitions.json").read_text())["partitions"]
    assert {"aws", "aws-cn", "aws-us-gov"} <= {each["id"] for each in partitions}
