"""Types of Prometheus rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning", "info"]
"""`critical` pages the on-call engineer, `warning` is for working hours, `info` for information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Recording rule. `record` has the form level:metric:operations."""

    record: str
    expr: str
    rationale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Alerting rule. It fires once `expr` has been true for the duration `for_`."""

    name: str
    expr: str
    for_: str
    severity: Severity
    summary: str
    description: str
    rationale: str
    """Reason for the form of the expression."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates in sequence."""

    name: str
    rules: tuple[Recording | Alert, ...]
