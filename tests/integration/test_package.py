"""The wheel and the source distribution: what they contain, and that the wheel works anywhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from neuron_exporter import __doc__ as description
from neuron_exporter import __version__
from neuron_exporter.web.page import page_routes
from tests.support.paths import PACKAGE, ROOT

FILES = ("pyproject.toml", "README.md", "LICENSE")
DIST_INFO = f"neuron_exporter-{__version__}.dist-info"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository's files that a build may read."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed: no build without a network")
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("exporter", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def build(source: Path, kind: str, target: Path) -> Path:
    """Build a wheel or an sdist with the setuptools of this environment; return its path."""
    code = f"from setuptools.build_meta import build_{kind} as b; b({str(target)!r})"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, env=environment, capture_output=True, check=True
    )
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel into an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)  # noqa: S202 (built by this test)
    return folder


def test_wheel_contains_only_the_package(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names} == {"neuron_exporter", DIST_INFO}
    ignored = {".pyc", ".proto"}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in ignored}
    packed = {f"{path.relative_to(PACKAGE.parent)}" for path in files}
    assert {name for name in names if name.startswith("neuron_exporter/")} >= packed - {
        name for name in packed if name.endswith(".pyi")
    }


def test_metadata(wheel: Path) -> None:
    text = zipfile.ZipFile(wheel).read(f"{DIST_INFO}/METADATA")
    metadata = message_from_bytes(text)
    assert f"{metadata['Summary']}." == description
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    supported = [row for row in metadata.get_all("Classifier", []) if "Python :: 3." in row]
    assert [row.rpartition(" ")[2] for row in supported] == ["3.11", "3.12", "3.13", "3.14"]
    assert metadata["Requires-Python"] == "<3.15,>=3.11"


def run(installed: Path, *arguments: str) -> str:
    """Run Python in the folder of the unpacked wheel and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.check_output(
        [sys.executable, *arguments], cwd=installed, env=environment, text=True
    )


def test_wheel_runs_anywhere(installed: Path) -> None:
    origin = "import neuron_exporter; print(neuron_exporter.__file__)"
    assert run(installed, "-c", origin).strip().startswith(str(installed))
    version = f"neuron-exporter, version {__version__} (revision: unknown)\n"
    assert run(installed, "-m", "neuron_exporter", "--version").startswith(version)


def test_wheel_has_the_page(installed: Path) -> None:
    code = "from neuron_exporter.web.page import page_routes; print(*page_routes())"
    assert run(installed, "-c", code).split() == list(page_routes())


def test_sdist_contains_only_the_package(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        names = [Path(member.name) for member in archive if member.isfile()]
    below = {name.relative_to(name.parts[0]) for name in names}
    top = {name.parts[0] for name in below}
    assert top == {"exporter", *FILES, "PKG-INFO", "setup.cfg"}
    packages = {name.parts[1] for name in below if name.parts[0] == "exporter"}
    assert packages == {"neuron_exporter", "neuron_exporter.egg-info"}
