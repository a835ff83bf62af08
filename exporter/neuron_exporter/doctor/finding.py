"""Findings of the checks, as lines for people and as JSON for programs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from neuron_exporter.text import safe_message


class Verdict(StrEnum):
    """Result of a check. With a warning, the exporter works but is incomplete or about to fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One observation about a subject, with what to do; `fix` is empty if nothing is to be done.

    The field names are the keys of `doctor --json`.
    """

    subject: str
    verdict: Verdict
    seen: str
    fix: str = ""


class Subject(str):
    """Name of what a check examines, with a method for each verdict."""

    __slots__ = ()

    def ok(self, seen: str) -> Finding:
        """Report that something is as it should be."""
        return Finding(self, Verdict.OK, seen)

    def warning(self, seen: str, fix: str) -> Finding:
        """Report that something works but is incomplete or about to fail."""
        return Finding(self, Verdict.WARNING, seen, fix)

    def failed(self, seen: str, fix: str) -> Finding:
        """Report that something does not work."""
        return Finding(self, Verdict.FAILED, seen, fix)

    def skipped(self, reason: str, fix: str = "") -> Finding:
        """Report why something was not checked."""
        return Finding(self, Verdict.SKIPPED, reason, fix)


def describe(error: OSError) -> str:
    """Return the path that cannot be used, the reason, and our user, who may lack a permission."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or type(error).__name__} (user {os.geteuid()})"


def format_numbers(numbers: Iterable[int]) -> str:
    """Return the numbers as sorted ranges: "0 to 15, 20, 21"; "none" without any."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
    return ", ".join(parts) or "none"


def format_count(number: float, noun: str) -> str:
    """Return a number with its noun: "1 report", "2 reports"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_names(names: Iterable[object], most: int = 5) -> str:
    """Return the first names, and the number of the others."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def redact(finding: Finding) -> Finding:
    """Return the finding without secrets, each text on one line of at most 1,000 characters."""
    return finding._replace(seen=safe_message(finding.seen), fix=safe_message(finding.fix))


def as_line(finding: Finding) -> str:
    """Return the finding on one line, and its fix on the next."""
    line = f"{finding.verdict:<8} {finding.subject:<14} {finding.seen}"
    return f"{line}\n{'':<8} {'':<14} -> {finding.fix}" if finding.fix else line


def as_summary(findings: Iterable[Finding]) -> str:
    """Return the number of findings per verdict."""
    count = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{count[verdict]} {verdict}" for verdict in Verdict)


def as_json(findings: Iterable[Finding]) -> str:
    """Return a JSON list of objects with `subject`, `verdict`, `seen` and `fix`."""
    return json.dumps([finding._asdict() for finding in findings], indent=2)
