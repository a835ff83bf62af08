"""Devices whose open hangs, or whose probe does."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor.devices import open_each

HANG, DIE = "time.sleep(3600)", "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("printed", "then", "answers"),
    [
        ("open 0 open", HANG, [0, -2, -3]),
        ("open 0", HANG, [0, -3, -3]),
        ("", HANG, [-3, -3, -3]),
        ("open 0 open", DIE, [0, -3, -3]),
        ("open", "raise MemoryError", [-3, -3, -3]),
        ("", "raise ImportError", [-3, -3, -3]),
    ],
)
def test_hanging_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, then: str, answers: list[int]
) -> None:
    """Only a device that was being opened hangs. A process that starts slowly or is killed shows
    nothing of the driver."""
    never = tmp_path / "never.py"
    lines = "".join(f"print({word!r}, flush=True)\n" for word in printed.split())
    never.write_text(f"import os, time\n{lines}{then}\n")
    monkeypatch.setattr("neuron_exporter.doctor.probe.__file__", str(never))
    monkeypatch.setattr("neuron_exporter.doctor.devices._TIMEOUT", 2.0)
    assert open_each(["a", "b", "c"]) == answers
