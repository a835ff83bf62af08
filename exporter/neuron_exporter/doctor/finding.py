"""What was found out about one subject, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How it is. A warning is no failure: the exporter does its work, but not all that it might."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One line for people. `fix` is empty where nothing is to be done."""

    subject: str
    verdict: Verdict
    seen: str
    fix: str = ""


def ok(subject: str, seen: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, Verdict.OK, seen)


def warning(subject: str, seen: str, fix: str) -> Finding:
    """It works, but something is missing or about to fail."""
    return Finding(subject, Verdict.WARNING, seen, fix)


def failed(subject: str, seen: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(subject, Verdict.FAILED, seen, fix)


def skipped(subject: str, why: str, fix: str = "") -> Finding:
    """Nothing was found out, and why that is so."""
    return Finding(subject, Verdict.SKIPPED, why, fix)
