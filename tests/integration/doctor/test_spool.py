"""What is said of the spool's file, which another process may have."""

from __future__ import annotations

import subprocess
from pathlib import Path

from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.doctor.spool import examine, look
from tests.support.doctoring import case
from tests.support.endpoint import Endpoint
from tests.support.mounts import filled_up, remount, tmpfs
from tests.support.paths import ROOT
from tests.support.processes import ended
from tests.support.spooler import spooler

SMALL = 64 * 1024


def one(path: Path) -> Finding:
    """The one thing that is said."""
    (finding,) = look(path, SMALL)
    return finding


def test_a_file_that_can_be_made(tmp_path: Path) -> None:
    """A path that is not there yet is well where it can be made, and nothing is made of it."""
    finding = one(tmp_path / "a" / "b" / "spool.db")
    assert finding.verdict is Verdict.OK
    assert finding.seen.endswith("is not there yet, and can be made")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_an_exporter_has(tmp_path: Path) -> None:
    """A lock is well, and who has it is told; the look does not take it from them."""
    path = tmp_path / "spool.db"
    command = spooler(path, "", "hold")
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ended(process),
    ):
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            finding = one(path)
            assert finding.verdict is Verdict.OK
            assert f"locked by process {process.pid}" in finding.seen
        process.kill()


def test_requests_that_nobody_sends(tmp_path: Path, endpoint: Endpoint) -> None:
    """What an exporter left behind when it was killed is counted, and stays."""
    path = tmp_path / "spool.db"
    command = spooler(path, endpoint.url, "live", "written")
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ended(process),
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    for _ in range(2):
        finding = one(path)
        assert finding.verdict is Verdict.WARNING
        assert "1 requests wait in it, and no exporter has it" in finding.seen


def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    """Whatever is at the path, the answer is a line."""
    path = tmp_path / "spool.db"
    path.write_bytes(b"x" * 5000)
    finding = one(path)
    assert finding.verdict is Verdict.FAILED
    assert "file is not a database" in finding.seen


def test_a_disk_that_is_read_only_or_full(tmp_path: Path) -> None:
    """Both are told before a request is lost to them."""
    with tmpfs(tmp_path, "1m"):
        with filled_up(tmp_path):
            findings = list(look(tmp_path / "spool.db", SMALL))
            assert findings[-1].verdict is Verdict.WARNING
            assert findings[-1].seen.startswith("0 MiB are free")
        remount(tmp_path, "ro")
        finding = one(tmp_path / "spool.db")
        assert finding.verdict is Verdict.FAILED
        assert "cannot be written: Read-only file system" in finding.seen


def test_an_exporter_that_goes_on_in_memory(tmp_path: Path) -> None:
    """What a kill would lose is told, once the exporter has begun to send."""
    told = case(cloudwatch__enabled=True, cloudwatch__spool__path=str(tmp_path / "spool.db"))
    metrics = "neuron_exporter_build_info 1\nneuron_exporter_spool_on_disk 0\n"
    told.exposed = Exposed(metrics)
    assert [each.verdict for each in examine(told)] == [Verdict.OK]
    told.exposed = Exposed(
        metrics + 'neuron_exporter_sink_requests_total{sink="cloudwatch",outcome="delivered"} 2\n'
    )
    assert [each.verdict for each in examine(told)] == [Verdict.OK, Verdict.WARNING]
    assert list(examine(case())) == []


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    """Who keeps requests in memory on purpose is not warned."""
    told = case(cloudwatch__enabled=True, cloudwatch__spool__path=None)
    assert [each.verdict for each in examine(told)] == [Verdict.SKIPPED]
