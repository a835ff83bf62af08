"""Standard input, output and error that are closed, full or without a reader."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from tests.support import exporter as exporter_process
from tests.support.children import child
from tests.support.clients import get
from tests.support.commands import Finished, run_in_shell
from tests.support.exporter import EXPORTER, running_exporter
from tests.support.processes import listening_port
from tests.support.waiting import wait_for


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a file that does not exist yet."""
    return tmp_path / "exporter.yaml"


@pytest.mark.parametrize(
    ("command", "streams", "status"),
    [
        ("metrics", ">&-", 0),
        ("metrics", "<&-", 0),
        ("metrics", "2>&-", 0),
        ("metrics", ">/dev/full", 1),
        ("metrics", ">/dev/full 2>/dev/full", 1),
        ("metrics", "2>/dev/full", 0),
        ("metrics --markdown", "| head -1", 0),
        ("metrics --markdown", "| true", 0),
        ("--help", ">/dev/full", 1),
        ("--help", "| true", 0),
        ("simulate --help", ">/dev/full", 1),
        ("simulate --help", "| true", 0),
        ("check --config GOOD", ">&- 2>&- <&-", 0),
        ("check --config GOOD", ">/dev/full", 1),
        ("check --config GOOD", "| true", 0),
        ("simulate --speed 0 --reports 9", ">&-", 0),
        ("simulate --speed 0", "| head -1", 0),
    ],
)
def test_output_streams(config: Path, command: str, streams: str, status: int) -> None:
    """A closed stream or a reader that leaves is no failure; a full disk is."""
    config.write_text("{}")
    finished = run_in_shell(command.replace("GOOD", str(config)), streams)
    assert finished.status == status
    full = ["the output cannot be written: No space left on device"]
    assert finished.error_lines == (full if streams == ">/dev/full" else [])
    assert len(finished.out.splitlines()) == 1 or "head" not in streams


@pytest.mark.parametrize(
    ("command", "streams"),
    [
        ("nonsense", ">&- 2>&-"),
        ("nonsense", "2>/dev/full"),
        ("nonsense", "2>&1 >/dev/null | true"),
        ("simulate --speed fast", "2>/dev/full"),
        ("check --config BAD", "2>/dev/full"),
        ("check --config BAD", "2>&1 >/dev/null | true"),
    ],
)
def test_exit_status_without_stderr(config: Path, command: str, streams: str) -> None:
    config.write_text("log: {level: loud}")
    finished = run_in_shell(command.replace("BAD", str(config)), streams)
    assert finished == Finished(2, "", "")


def test_path_that_is_invalid_unicode(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.yaml"
    Path(os.fsdecode(path)).write_text("{}")
    finished = run_in_shell(f"check --config {shlex.quote(str(tmp_path))}/$'\\xff'.yaml", "")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"{tmp_path}/\\udcff.yaml: good\n")


@pytest.mark.parametrize("streams", [">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_daemon_without_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: str
) -> None:
    shell = ("bash", "-c", f'exec "$@" {streams}', "bash")
    monkeypatch.setattr(exporter_process, "EXPORTER", (*shell, *EXPORTER))
    source = {"source": {"command": child("report", "forever"), "period": "1s"}}
    with running_exporter(tmp_path, source) as exporter:
        port = wait_for(lambda: listening_port(exporter.process.pid))
        wait_for(lambda: b"\nneuron_exporter_up 1" in get(port, "/metrics").body)
        assert exporter.stop() == 0
