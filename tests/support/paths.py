"""Where the files of the repository are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The top of the repository."""

PACKAGE = ROOT / "exporter" / "neuron_exporter"
"""The import package."""
