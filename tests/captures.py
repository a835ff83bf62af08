"""Where the recorded reports are."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "captures"

FOLDER = Path(os.environ.get("NEURON_EXPORTER_CAPTURES") or _BESIDE)
"""The folder of the captures, which may not be there."""

THIRTY_TWO_RUNTIMES = FOLDER / "trn1n.32xlarge_2024_32_runtimes.ndjson"

MISSING = f"the recorded reports are not in {FOLDER.name} (set NEURON_EXPORTER_CAPTURES)"


def all_captures() -> list[Path]:
    """Every recorded report; none where the folder is absent."""
    return sorted(FOLDER.glob("*.ndjson"))
