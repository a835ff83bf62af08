"""Where the recorded reports are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "captures"

FOLDER = Path(os.environ.get("NEURON_EXPORTER_CAPTURES") or _BESIDE)
"""The folder of the captures, which may not be there."""

THIRTY_TWO_RUNTIMES = FOLDER / "trn1n.32xlarge_2024_32_runtimes.ndjson"

MISSING = f"the recorded reports are not in {FOLDER.name} (set NEURON_EXPORTER_CAPTURES)"


def all_captures() -> list[Path]:
    """Every recorded report; none where the folder is absent."""
    return sorted(FOLDER.glob("*.ndjson"))


def lines(path: Path) -> list[bytes]:
    """Return the reports of a recording, which has one or more, one per line."""
    return path.read_bytes().splitlines()


def reports(paths: Iterable[Path]) -> dict[str, bytes]:
    """Return every report of these recordings by an id for a parametrized test."""
    return {
        f"{path.stem}-{number}": line
        for path in paths
        for number, line in enumerate(lines(path), 1)
    }
