"""Links, files and tests that the documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neuron_exporter import __version__
from tests.support.documents import DOCUMENTS, anchors, commands, links, quoted, tables, text
from tests.support.paths import PACKAGE, ROOT

BASES = (ROOT, ROOT / "tests")
"""Folders, beside the document's own, to which a document's file names may be relative."""
TOP = ("docker/", "docs/", "ecs/", "exporter/", "grafana/", "k8s/", "tests/", ".ci/")
SUFFIXES = (".py", ".sh", ".md", ".yaml", ".yml", ".json", ".proto")
OLD_NAMES = {"CHANGELOG.md"}
"""Documents that also name files that no longer exist."""

UNPACKED = f"neuron-exporter-{__version__}/"
"""The folder of a release's source archive, which has the repository's files."""

CREATED = ("/etc/", "/run/", "/var/", "/opt/", "../")
"""Places outside of the repository."""

TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
MODULES = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(document: str) -> None:
    """Each relative link leads to a file, and each anchor to a heading."""
    for link in links(document):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.relative_to(ROOT))), link


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if each not in OLD_NAMES])
def test_files_exist(document: str) -> None:
    words = " ".join([*quoted(document), *commands(document)]).split()
    for path in (word.strip("\"',:;()") for word in words):
        if not re.fullmatch(r"[\w./-]+", path) or "NAME" in path or path.startswith(CREATED):
            continue
        path = path.removeprefix(UNPACKED)
        if path.startswith(TOP) or ("/" in path and path.endswith(SUFFIXES)):
            bases = ((ROOT / document).parent, *BASES)
            found = any((base / path).exists() for base in bases) or any(PACKAGE.rglob(path))
            assert found, path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_tests_exist(document: str) -> None:
    for name in re.findall(r"`(test_\w+)`", text(document)):
        assert name in MODULES or f"def {name}(" in TESTS, name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_selected_tests_exist(document: str) -> None:
    """Each word of a `pytest -k` expression selects a test."""
    for expression in re.findall(r"pytest (?:-rP )?-k (\"[^\"]+\"|\w+)", text(document)):
        for word in set(re.findall(r"\w+", expression)) - {"or", "and", "not", "NAME"}:
            names = [*MODULES, *re.findall(r"def (test_\w+)\(", TESTS)]
            assert any(word in name for name in names), word


def test_every_fault_has_a_test() -> None:
    """Each row of the tables of docs/reliability.md names a test that causes the fault."""
    rows = [row for table in tables("docs/reliability.md", "what is lost") for row in table]
    assert len(rows) > 30
    for fault, _, _, shown_by in rows:
        assert re.findall(r"`(test_\w+)`", shown_by), fault


def test_pictures_are_in_the_documents() -> None:
    """Every picture of the page is shown somewhere."""
    folder = ROOT / "tests" / "end_to_end" / "files" / "page"
    shown = {
        ((ROOT / document).parent / link).resolve()
        for document in DOCUMENTS
        for link in links(document)
        if Path(link).suffix == ".png"
    }
    assert set(folder.glob("*.png")) <= shown
