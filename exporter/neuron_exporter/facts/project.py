"""The project's public home."""

from __future__ import annotations

HOME = ""
"""Address below which this version's files of the repository are found, without a slash at its end.
Empty while the project has no public home."""

RUNBOOK = "grafana/RUNBOOK.md"
"""Path of the runbook. The anchor of an alert's section is the alert's name in lower case."""


def runbook_address(home: str = HOME) -> str:
    """Return the address of the runbook, empty without a home."""
    return f"{home}/{RUNBOOK}" if home else ""
