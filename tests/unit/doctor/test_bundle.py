"""How findings are told, and what is kept out of a bundle."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from email.message import Message
from pathlib import Path

import pytest

from neuron_exporter.config import ConfigError, Given, load
from neuron_exporter.daemon.snapshot_api import Live
from neuron_exporter.doctor.bundle import Bundle, masked
from neuron_exporter.doctor.context import Sample
from neuron_exporter.doctor.finding import Finding, Verdict, failed, ok, warning
from neuron_exporter.doctor.render import as_json, as_line, as_summary, discreet
from neuron_exporter.doctor.snapshot import Snapshot, read
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.web import Request
from tests.support.children import REPORT
from tests.support.doctoring import case

FINDINGS = [
    ok("driver", "version 2.24.7.0 is loaded"),
    warning("spool", "3 requests wait", "start the exporter"),
    failed("devices", "none\x1b[2J\nat all", "give it the devices"),
]


def test_a_finding_is_a_line_and_its_fix_the_next() -> None:
    """What is wrong stands on one line, whatever is in it, and what to do right below."""
    well, bad = as_line(FINDINGS[0]), as_line(FINDINGS[2])
    assert well == "ok       driver         version 2.24.7.0 is loaded"
    first, second = bad.splitlines()
    assert first == "failed   devices        none\ufffd[2J\ufffdat all"
    assert second.strip() == "-> give it the devices"


def test_the_summary_counts_each_verdict() -> None:
    """The last line says how many there are of each kind, none included."""
    assert as_summary(FINDINGS) == "1 ok, 1 warning, 1 failed, 0 skipped"


def test_json_has_the_same_findings() -> None:
    """A program gets all that people get."""
    told = json.loads(as_json(FINDINGS))
    assert [Finding(**{**each, "verdict": Verdict(each["verdict"])}) for each in told] == FINDINGS


def test_no_password_of_an_address_is_told() -> None:
    """An address that has a name and a password is shown without."""
    finding = discreet(failed("x", "http://me:geheim@proxy:1/ fails", "try http://a@b/"))
    assert finding == failed("x", "http://***@proxy:1/ fails", "try http://***@b/")


def test_reasons_are_read_from_a_real_document(tmp_path: Path) -> None:
    """Why the source is as it is, and how the sink is, stand where the exporter writes them."""
    pipeline = build(load(None, {}, [Given("x", "cloudwatch.enabled", True)]), environment={})
    pipeline.intake.state(SourceState.EXITED, 'it said "<no> & </td>"')
    told = read(Live(pipeline, dict, ()).answer(Request("", Message())).body)
    assert told.source.why == 'it said "<no> & </td>"'
    assert told.sinks.cloudwatch.state == "waiting for its first window"


@pytest.mark.parametrize("document", [b"", b"\xff<html>", b"[]", b'{"source": 3}', b"{}"])
def test_another_document_says_nothing(document: bytes) -> None:
    """An older exporter, or another program, costs the doctor its reasons and nothing else."""
    assert read(document) == Snapshot()


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
def test_what_looks_like_a_secret_is_masked(value: object, shown: object) -> None:
    """A configuration can be shown to others: keys stay, and secrets do not."""
    assert masked(value) == shown


def test_a_bundle_has_what_it_says(tmp_path: Path) -> None:
    """Only its owner can read it, every part is announced, and names in the report are masked."""
    path = tmp_path / "bundle.tar.gz"
    told = case(source__kind="neuron-monitor")
    told.metrics = b"neuron_exporter_up 1\n"
    told.snapshot = b'{"why": "http://me:geheim@host/"}'
    told.sample = Sample(SourceState.OK, "", json.dumps(REPORT).encode())

    lines = list(Bundle(str(path)).write(told, FINDINGS))

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


def test_a_bundle_is_never_written_over_anything(tmp_path: Path) -> None:
    """A file that is there stays as it is, as does what a link leads to."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link, tmp_path / "no" / "folder"):
        with pytest.raises(ConfigError, match="--bundle"):
            Bundle(str(path))
    assert there.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]
