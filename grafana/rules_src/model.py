"""Types of Prometheus rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neuron_exporter.facts.problems import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Recording rule. `record` has the form level:metric:operations."""

    record: str
    expr: str
    rationale: str
    labels: Mapping[str, str] = field(default_factory=dict)


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
