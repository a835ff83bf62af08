"""Scripts at different speeds."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import run
from tests.support.simulated import SMALL


def test_output_is_independent_of_speed(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- {at: 10s, scenario: mixed}\n- {at: 20s, fault: [nulls, garbage], for: 1m}")
    flags = ("simulate", "--script", str(script), "--reports", "9", *SMALL)
    slow, fast = run(*flags, "--speed", "500"), run(*flags, "--speed", "0")
    assert slow == fast
    assert slow.status == 0
    assert slow != run(*flags, "--speed", "0", "--seed", "1")
