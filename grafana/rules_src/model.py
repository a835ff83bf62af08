"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning", "info"]
"""critical wakes somebody; warning is for the day; info is to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A view that is computed once for all who look at it. `record` is level:metric:operations."""

    record: str
    expr: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `lasting` is how long its expression has to hold before it fires."""

    name: str
    expr: str
    lasting: str
    severity: Severity
    summary: str
    description: str
    because: str
    """Why the expression is as it is."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are computed in their order, one after the other."""

    name: str
    rules: tuple[Recording | Alert, ...]
