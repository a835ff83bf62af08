"""Findings as lines for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.text import clean, hide_users

_LONGEST = 1000


def discreet(finding: Finding) -> Finding:
    """A finding without the names and passwords that addresses in it may have."""
    return finding._replace(seen=hide_users(finding.seen), fix=hide_users(finding.fix))


def as_line(finding: Finding) -> str:
    """A finding on one line, and below it what to do."""
    line = f"{finding.verdict:<8} {finding.subject:<14} {clean(finding.seen, _LONGEST)}"
    if finding.fix:
        line += f"\n{'':<8} {'':<14} -> {clean(finding.fix, _LONGEST)}"
    return line


def as_summary(findings: Iterable[Finding]) -> str:
    """How many there are of each kind."""
    count = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{count[verdict]} {verdict}" for verdict in Verdict)


def as_json(findings: Iterable[Finding]) -> str:
    """A list of objects with `subject`, `verdict`, `seen` and `fix`."""
    return json.dumps([finding._asdict() for finding in findings], indent=2)
