"""The driver's files: missing, readable, and in a layout that is understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor import driver_files
from neuron_exporter.doctor.driver_files import check
from neuron_exporter.doctor.finding import Finding, Verdict
from tests.support.doctor import make_context, seen_with
from tests.support.sysfs_tree import write_tree


def findings(root: Path | bool) -> list[Finding]:
    """Return the findings for this folder of the driver."""
    return list(check(make_context(hardware__sysfs=root if root is False else str(root))))


def test_known_layout(tmp_path: Path) -> None:
    write_tree(tmp_path, range(2))
    (finding,) = findings(tmp_path)
    assert finding.verdict is Verdict.OK
    assert " files of devices 0, 1" in finding.seen
    assert "other paths" not in finding.seen


def test_moved_files(tmp_path: Path) -> None:
    write_tree(tmp_path, [0], is_moved=True)
    (seen,) = seen_with(findings(tmp_path), Verdict.OK)
    assert "known names are at other paths than up to driver 2.30" in seen


def test_unknown_files_are_named(tmp_path: Path) -> None:
    write_tree(tmp_path, [0])
    (tmp_path / "neuron0" / "celsius").write_text("40\n")
    assert seen_with(findings(tmp_path), Verdict.WARNING) == ["not understood: celsius"]


@pytest.mark.parametrize(
    ("is_loaded", "verdict"), [(True, Verdict.WARNING), (False, Verdict.SKIPPED)]
)
def test_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool, verdict: Verdict
) -> None:
    """They are missed only where a driver is loaded."""
    module = tmp_path / "module"
    if is_loaded:
        module.mkdir()
    monkeypatch.setattr(driver_files, "DRIVER_VERSION", module / "version")
    (finding,) = findings(tmp_path / "none")
    assert finding.verdict is verdict


def test_files_that_must_not_be_read() -> None:
    (finding,) = findings(False)
    assert finding.verdict is Verdict.SKIPPED
    assert finding.seen.startswith("hardware.sysfs is false")


def test_source_that_is_not_this_machine(tmp_path: Path) -> None:
    write_tree(tmp_path, [0])
    (finding,) = check(make_context(source__kind="simulator"))
    assert finding.verdict is Verdict.SKIPPED
