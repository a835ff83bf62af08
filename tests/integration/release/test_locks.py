"""The locked libraries of the image and of the release satisfy what the project requires."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCKS = ("docker/exporter/requirements.txt", ".ci/requirements.txt")


def locked(path: str) -> dict[str, str]:
    """Return the version of each locked library."""
    lines = (ROOT / path).read_text().splitlines()
    found = [Requirement(line.rstrip(" \\")) for line in lines if line[0].isalpha()]
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in found}


@pytest.mark.parametrize("path", LOCKS)
def test_each_version_has_hashes(path: str) -> None:
    text = (ROOT / path).read_text()
    for entry in text.replace("\\\n", "").splitlines():
        if entry[0].isalpha():
            assert "==" in entry
            assert "--hash=sha256:" in entry


def test_the_image_has_what_the_project_requires() -> None:
    """If this fails, run `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    versions = locked(LOCKS[0])
    for text in (
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *extras["container"],
        *extras["kubernetes"],
        *extras["otlp"],
    ):
        needed = Requirement(text)
        assert versions[canonicalize_name(needed.name)] in needed.specifier, text


def test_the_release_builds_with_the_setuptools_of_the_image() -> None:
    first, second = map(locked, LOCKS)
    assert first["setuptools"] == second["setuptools"]
