"""The spool file, which another process may have locked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import ScrapedMetrics
from neuron_exporter.doctor.spool import check, check_file
from tests.support.doctor import make_context
from tests.support.endpoint import Endpoint
from tests.support.mounts import filled_file_system, remount, tmpfs
from tests.support.paths import ROOT
from tests.support.planted_spools import ATTACKS, make_endless, write_spool
from tests.support.processes import ended
from tests.support.spooler import spool_command

SMALL = 64 * 1024


def only_finding(path: Path) -> Finding:
    """Return the single finding about a path."""
    (finding,) = check_file(path, SMALL)
    return finding


def test_missing_file(tmp_path: Path) -> None:
    """A path that can be created is OK, and the check creates nothing."""
    finding = only_finding(tmp_path / "a" / "b" / "spool.db")
    assert finding.verdict is Verdict.OK
    assert finding.seen.endswith("does not exist yet and can be created")
    assert list(tmp_path.iterdir()) == []


def test_locked_file(tmp_path: Path) -> None:
    """The process with the lock is named, and keeps it."""
    path = tmp_path / "spool.db"
    command = spool_command(path, "", "hold")
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ended(process),
    ):
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            finding = only_finding(path)
            assert finding.verdict is Verdict.OK
            assert f"locked by process {process.pid}" in finding.seen
        process.kill()


def test_left_over_requests_are_counted(tmp_path: Path, endpoint: Endpoint) -> None:
    path = tmp_path / "spool.db"
    command = spool_command(path, endpoint.url, "live", "written")
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ended(process),
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    for _ in range(2):
        finding = only_finding(path)
        assert finding.verdict is Verdict.WARNING
        assert "1 requests queued, and no exporter has it open" in finding.seen


def test_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"x" * 5000)
    finding = only_finding(path)
    assert finding.verdict is Verdict.FAILED
    assert "file is not a database" in finding.seen


@pytest.mark.parametrize(
    ("attack", "seen"),
    [
        ("view", "the tables are not those of this program"),
        ("trigger", "the tables are not those of this program"),
        ("link", "spool.db is a symbolic link"),
        ("log", "spool.db-wal is a symbolic link"),
        ("owned", "spool.db belongs to user 12345, not to 0"),
        ("writable", "spool.db can be written by other users (mode 0666)"),
    ],
)
def test_planted_file(tmp_path: Path, attack: str, seen: str) -> None:
    path = tmp_path / "spool.db"
    ATTACKS[attack](path)
    finding = only_finding(path)
    assert finding.verdict is Verdict.FAILED
    assert seen in finding.seen


def test_endless_indexes(tmp_path: Path) -> None:
    """SQLite counts the requests in one of them."""
    path = tmp_path / "spool.db"
    write_spool(path)
    for index in ("by_turn", "by_age"):
        make_endless(path, index)
    finding = only_finding(path)
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.endswith("cannot be read: interrupted")


def test_pipe_in_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    os.mkfifo(path)
    finding = only_finding(path)
    assert finding.verdict is Verdict.FAILED


def test_read_only_or_full_disk(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "1m"):
        with filled_file_system(tmp_path):
            findings = list(check_file(tmp_path / "spool.db", SMALL))
            assert findings[-1].verdict is Verdict.WARNING
            assert findings[-1].seen.startswith(f"{tmp_path} has 0 MiB free")
        remount(tmp_path, "ro")
        finding = only_finding(tmp_path / "spool.db")
        assert finding.verdict is Verdict.FAILED
        assert "cannot be written: Read-only file system" in finding.seen


def test_space_that_the_spool_has_taken_is_not_needed_again(tmp_path: Path) -> None:
    """Free space is compared with what the spool may still grow."""
    with tmpfs(tmp_path, "1m"):
        path = tmp_path / "spool.db"
        path.write_bytes(bytes(600 * 1024))
        limit = 800 * 1024
        assert [each for each in check_file(path, limit) if "free" in each.seen] == []
        Path(f"{path}-wal").write_bytes(bytes(300 * 1024))
        assert [each for each in check_file(path, 2**20) if "free" in each.seen] == []
        warned = [each for each in check_file(path, 2**21) if "free" in each.seen]
        assert [each.verdict for each in warned] == [Verdict.WARNING]


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = only_finding(tmp_path / "file" / "spool.db")
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.startswith(f"{tmp_path}/file/spool.db cannot be written: Not a directory")


def test_exporter_queues_in_memory(tmp_path: Path) -> None:
    """The warning appears once the exporter has tried to open the file."""
    context = make_context(
        cloudwatch__enabled=True, cloudwatch__spool__path=str(tmp_path / "spool.db")
    )
    metrics = "neuron_exporter_build_info 1\n"
    context.scraped = ScrapedMetrics(metrics)
    assert [each.verdict for each in check(context)] == [Verdict.OK]
    context.scraped = ScrapedMetrics(
        f'{metrics}neuron_exporter_spool_on_disk{{sink="cloudwatch"}} 0\n'
    )
    assert [each.verdict for each in check(context)] == [Verdict.OK, Verdict.WARNING]
    assert list(check(make_context())) == []


def test_memory_queue_by_configuration(tmp_path: Path) -> None:
    context = make_context(cloudwatch__enabled=True, cloudwatch__spool__path=None)
    assert [each.verdict for each in check(context)] == [Verdict.SKIPPED]
