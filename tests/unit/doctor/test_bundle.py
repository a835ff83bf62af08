"""The support bundle: its files, and what is masked in them."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError
from neuron_exporter.doctor.bundle import Bundle, masked
from neuron_exporter.doctor.context import Sample
from neuron_exporter.doctor.finding import Subject
from neuron_exporter.model import SourceState
from tests.support.children import REPORT
from tests.support.doctor import make_context

FINDINGS = [Subject("driver").ok("version 2.24.7.0 is loaded")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:geheim@host/", "http://***@host/"),
        (["monitor", "--token", "geheim", "-v"], ["monitor", "--token", "***", "-v"]),
        (["monitor", "--api-key=geheim"], ["monitor", "--api-key=***"]),
        (["sh", "-c", "monitor --password geheim -v"], ["sh", "-c", "monitor --password *** -v"]),
        ({"Team": "a", "AuthToken": "geheim"}, {"Team": "a", "AuthToken": "***"}),
        (
            {"period": 5.0, "command": ["neuron-monitor"]},
            {"period": 5.0, "command": ["neuron-monitor"]},
        ),
    ],
)
def test_secrets_are_masked(value: object, shown: object) -> None:
    assert masked(value) == shown


def test_bundle_content(tmp_path: Path) -> None:
    """The archive is readable by its owner only, lists its files, and has no names or secrets."""
    path = tmp_path / "bundle.tar.gz"
    context = make_context(source__kind="neuron-monitor")
    context.metrics = b"neuron_exporter_up 1\n"
    context.snapshot = b'{"reason": "http://me:geheim@host/"}'
    context.sample = Sample(SourceState.OK, "", json.dumps(REPORT).encode())

    lines = list(Bundle(str(path)).write(context, FINDINGS))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        parts = {Path(entry.name).name: archive.extractfile(entry) for entry in archive}
        content = {name: part.read() for name, part in parts.items() if part is not None}
    assert [line.split(":")[0].strip() for line in lines[1:]] == list(content)
    assert set(content) == {
        *("findings.json", "configuration.yaml", "report.json", "metrics.txt", "snapshot.json"),
        "versions.txt",
    }
    assert b"i-0123456789abcdef0" not in content["report.json"]
    assert json.loads(content["report.json"])["neuron_hardware_info"]["neuron_device_count"] == 1
    assert b"geheim" not in b"".join(content.values())
    assert b"pydantic" in content["versions.txt"]


def test_existing_paths_are_never_overwritten(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link, tmp_path / "no" / "folder"):
        with pytest.raises(ConfigError, match="--bundle"):
            Bundle(str(path))
    assert there.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]
