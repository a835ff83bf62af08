"""The file that keeps ECC counters from one exporter to the next."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter import own_files
from neuron_exporter.metrics import ecc_state
from neuron_exporter.metrics.ecc_counters import EccCounters
from neuron_exporter.metrics.ecc_state import MAX_BYTES, EccStateFile
from tests.support.waiting import wait_for

NONE = (None, None, None)


class Life:
    """One exporter with this file."""

    def __init__(self, path: Path, mode: str = "reset_aware") -> None:
        self._path = path
        self._counters = EccCounters(mode, EccStateFile(path))

    def observe(self, *readings: float, device: int = 0) -> tuple[Any, float]:
        """Count readings of a device; return the counter and the value from which it started."""
        for reading in readings:
            self._counters.observe({device: (reading, *NONE)})
        counts = self._counters.counts[device]
        return counts.values[0], counts.starts[0]

    def is_saved(self, reading: float, device: int = 0) -> bool:
        """Observe the reading again; return whether the file has it."""
        self.observe(reading, device=device)
        if not self._path.is_file():  # a pipe would block
            return False
        try:
            saved = json.loads(self._path.read_text())["devices"][str(device)]
            return bool(saved["mem_ecc_corrected"][0] == reading)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file in a folder that does not exist yet."""
    return tmp_path / "spool" / "spool.db.ecc"


def test_counter_continues(path: Path) -> None:
    """A reset before and a rise between two exporters are both in the value of the second."""
    first = Life(path)
    assert first.observe(7, 2) == (9, 7)
    wait_for(lambda: first.is_saved(2))
    assert Life(path).observe(5) == (12, 9)
    assert path.stat().st_mode & 0o777 == 0o600


def test_new_device_has_a_baseline(path: Path) -> None:
    first = Life(path)
    first.observe(7)
    wait_for(lambda: first.is_saved(7))
    assert Life(path).observe(5, device=1) == (5, 5)


def saved(path: Path) -> dict[str, Any]:
    """Write a file with a reading of 1; return its content."""
    life = Life(path)
    life.observe(1)
    wait_for(lambda: life.is_saved(1))
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"\xff" * 100,
        lambda content: b"[" * 100_000,
        lambda content: json.dumps({**content, "boot_id": "another"}).encode(),
        lambda content: json.dumps({**content, "version": 2}).encode(),
        lambda content: json.dumps({**content, "mode": "tally"}).encode(),
        lambda content: json.dumps({**content, "devices": {"0": {"x": [1, -2]}}}).encode(),
        lambda content: json.dumps({**content, "devices": {"9999": {}}}).encode(),
        lambda content: b" " * MAX_BYTES + json.dumps(content).encode(),
    ],
    ids=["empty", "binary", "deep", "boot", "version", "mode", "negative", "device", "too long"],
)
def test_unusable_file_is_replaced(path: Path, damage: Callable[[Any], bytes]) -> None:
    path.write_bytes(damage(saved(path)))
    life = Life(path)
    assert life.observe(5) == (5, 5)
    wait_for(lambda: life.is_saved(5))


def test_folder_that_is_no_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting goes on, and the file is written once that is possible."""
    monkeypatch.setattr(ecc_state, "RETRY_SECONDS", 0.0)
    path.parent.write_text("")
    life = Life(path)
    assert life.observe(3, 4, 4) == (4, 3)
    path.parent.unlink()
    wait_for(lambda: life.is_saved(4))


def test_file_that_cannot_be_replaced_is_removed(path: Path) -> None:
    """Its readings are old: the next exporter would count again what this one has counted."""
    life = Life(path)
    life.observe(1)
    wait_for(lambda: life.is_saved(1))
    (path.parent / f"{path.name}.new" / "in the way").mkdir(parents=True)
    assert life.observe(9) == (9, 1)
    wait_for(lambda: not path.exists())
    assert Life(path).observe(9) == (9, 9)


def test_file_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer delays the first report by the time limit, and no other."""
    monkeypatch.setattr(ecc_state, "LOAD_TIMEOUT", 0.01)
    answers = threading.Event()
    monkeypatch.setattr(own_files, "read", lambda *_: b"{}" if answers.wait(60) else b"")
    with capture_logs() as log:
        assert Life(path).observe(3, 4) == (4, 3)
    answers.set()
    own = [event["reason"] for event in log if event["file"] == str(path)]
    assert own == ["no answer within 0.01 s"]  # an earlier test's thread may still log
    for thread in threading.enumerate():
        if thread.name == "ecc-state":
            thread.join(60)


def test_no_file_without_a_boot_id(path: Path, tmp_path: Path) -> None:
    counters = EccCounters("level", EccStateFile(path, tmp_path / "missing"))
    counters.observe({0: (1, *NONE)})
    assert not path.parent.exists()


def link(path: Path, target: Path) -> None:
    """Replace a file by a link to its content."""
    path.rename(target)
    path.symlink_to(target)


def pipe(path: Path, _: Path) -> None:
    """Replace a file by a pipe."""
    path.unlink()
    os.mkfifo(path)


FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "is a symbolic link": link,
    "is not a regular file": pipe,
    "has another name": lambda path, target: os.link(path, target),
    "belongs to user 12345": lambda path, _: os.chown(path, 12345, 12345),
    "can be written by other users (mode 0666)": lambda path, _: path.chmod(0o666),
}


@pytest.mark.parametrize("reason", FOREIGN)
def test_file_of_others_is_replaced(path: Path, tmp_path: Path, reason: str) -> None:
    saved(path)
    target = tmp_path / "target"
    try:
        FOREIGN[reason](path, target)
    except PermissionError:
        pytest.skip("only root can give a file away")
    before = target.read_bytes() if target.exists() else b""
    with capture_logs() as log:
        life = Life(path)
        assert life.observe(5) == (5, 5)
        wait_for(lambda: life.is_saved(5))
    assert [event["event"] for event in log] == ["ecc_state_unreadable"]
    assert reason in log[0]["reason"]
    assert (target.read_bytes() if target.exists() else b"") == before
    assert Life(path).observe(5) == (5, 5)
