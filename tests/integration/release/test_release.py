"""`make release`: what it refuses, and that its files are complete, repeatable and installable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import venv
from contextlib import closing
from pathlib import Path

import pytest

from neuron_exporter import __version__
from tests.support.exporter import RunningExporter, clean_environment, write_config
from tests.support.helm import rendered
from tests.support.paths import ROOT
from tests.support.releases import ENVIRONMENT, clone, commit_of, release, share_libraries

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone."""
    return clone(tmp_path_factory.mktemp("clones") / "first")


@pytest.fixture(scope="module")
def dist(source: Path) -> Path:
    """The files of a release without the image."""
    done = release(source, __version__)
    assert done.returncode == 0, done.stderr
    assert "no image: buildah and debootstrap not installed" in done.stdout
    return source / "dist"


@pytest.mark.parametrize(("version", "got"), [("9.9.9", "9.9.9"), ("", "none")])
def test_another_version_is_refused(source: Path, version: str, got: str) -> None:
    done = release(source, version)
    assert done.returncode == 2
    wanted = f"release: VERSION must be {__version__}, the package's version (got {got})\n"
    assert done.stderr == wanted


def test_changed_files_are_refused(tmp_path: Path) -> None:
    folder = clone(tmp_path / "dirty")
    (folder / "LICENSE").write_text("mine")
    (folder / "new").touch()
    done = release(folder, __version__)
    assert done.returncode == 2
    wanted = "release: a release needs a clean working tree (changed: LICENSE and 1 more)\n"
    assert done.stderr == wanted
    assert not (folder / "dist").exists()


@pytest.mark.usefixtures("needs_helm")
def test_a_second_clone_writes_the_same_bytes(source: Path, dist: Path, tmp_path: Path) -> None:
    """Neither the time of the build, nor the user's umask, nor the folder are in the files."""
    other = tmp_path / "somewhere else"
    subprocess.run(["git", "clone", "-q", source, other], env=ENVIRONMENT, check=True)
    before = os.umask(0o077)
    try:
        assert release(other, __version__).returncode == 0
    finally:
        os.umask(before)
    sums = (dist / "SHA256SUMS").read_text()
    assert (other / "dist" / "SHA256SUMS").read_text() == sums
    assert {line.split("  ")[1] for line in sums.splitlines()} == {
        f"neuron-exporter-{__version__}-source.tar.gz",
        f"neuron-exporter-{__version__}.cdx.json",
        f"neuron-exporter-{__version__}.tgz",
        f"neuron_exporter-{__version__}-py3-none-any.whl",
        f"neuron_exporter-{__version__}.tar.gz",
    }
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=dist, check=True)


def test_source_archive_has_the_commit(dist: Path, tmp_path: Path) -> None:
    """It has all files with their links and permissions, and knows the commit."""
    folder = f"neuron-exporter-{__version__}"
    with tarfile.open(dist / f"{folder}-source.tar.gz") as archive:
        assert {each.uid for each in archive} == {0}
        archive.extractall(tmp_path, filter="data")
    unpacked, source = tmp_path / folder, dist.parent
    revision = unpacked / "exporter" / "neuron_exporter" / "REVISION"
    assert revision.read_text() == f"{commit_of(source)}\n"
    revision.unlink()
    for arguments in (["add", "."], ["diff", "--cached", "--exit-code", "--stat"]):
        command = ["git", f"--git-dir={source}/.git", f"--work-tree={unpacked}", *arguments]
        index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
        subprocess.run(command, cwd=unpacked, env={**ENVIRONMENT, **index}, check=True)


@pytest.mark.parametrize("kind", ["*.whl", "neuron_exporter-*.tar.gz"])
def test_package_runs_in_an_empty_environment(dist: Path, kind: str, tmp_path: Path) -> None:
    """Wheel and source distribution know the commit, and publish metrics. The libraries are this
    environment's."""
    (package,) = dist.glob(kind)
    venv.create(tmp_path / "venv", with_pip=True)
    share_libraries(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([python, *install, package], check=True, capture_output=True)
    program = tmp_path / "venv" / "bin" / "neuron-exporter"
    printed = subprocess.check_output([program, "--version"], text=True)
    revision = f"(revision: {commit_of(dist.parent)})"
    assert printed.startswith(f"neuron-exporter, version {__version__} {revision}")
    config = write_config(tmp_path, {"source": {"kind": "simulator"}})
    process = subprocess.Popen(
        [program, "run", "--config", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    with closing(RunningExporter(process)) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert "neuroncore_utilization_ratio" in exporter.families()


@pytest.mark.usefixtures("needs_helm")
def test_chart_renders_without_the_repository(dist: Path) -> None:
    chart = dist / f"neuron-exporter-{__version__}.tgz"
    assert rendered(chart=chart) == rendered()


def test_bill_of_materials_has_the_locked_libraries(dist: Path) -> None:
    document = json.loads((dist / f"neuron-exporter-{__version__}.cdx.json").read_text())
    assert document["metadata"]["component"]["version"] == __version__
    listed = {f"{each['name']}=={each['version']}" for each in document["components"]}
    lines = (ROOT / "docker/exporter/requirements.txt").read_text().splitlines()
    assert listed == {line.split()[0] for line in lines if line[0].isalpha()}
