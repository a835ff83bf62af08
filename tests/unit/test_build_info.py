"""Version and revision of the program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter import __version__, build_info
from neuron_exporter.build_info import revision, version_text


@pytest.fixture(autouse=True)
def _not_cached() -> Iterator[None]:
    revision.cache_clear()
    yield
    revision.cache_clear()


def test_the_build_writes_the_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_info, "__file__", str(tmp_path / "build_info.py"))
    assert revision() == "unknown"
    revision.cache_clear()
    (tmp_path / "REVISION").write_text("0ca1f00d\n")
    assert revision() == "0ca1f00d"
    assert version_text().startswith(f"neuron-exporter, version {__version__} (revision: 0ca1f00d)")


def test_the_first_line_is_that_of_prometheus_exporters() -> None:
    first = version_text().splitlines()[0]
    assert re.fullmatch(r"neuron-exporter, version \S+ \(revision: \S+\)", first)
