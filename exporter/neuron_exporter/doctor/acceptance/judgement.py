"""Judgement of an assumption: its result, and the evidence for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Result(StrEnum):
    """Result of an assumption on one machine."""

    HELD = "held"
    CONTRADICTED = "did not hold"
    NOT_SEEN = "not seen"


class Judgement(NamedTuple):
    """A result, and the readings that decide it. The evidence names no machine and no process."""

    result: Result
    evidence: str


def held(evidence: str) -> Judgement:
    """Judge that the readings agree with the assumption."""
    return Judgement(Result.HELD, evidence)


def contradicted(evidence: str) -> Judgement:
    """Judge that the readings contradict the assumption."""
    return Judgement(Result.CONTRADICTED, evidence)


def not_seen(reason: str) -> Judgement:
    """Judge that the readings decide nothing."""
    return Judgement(Result.NOT_SEEN, reason)


def judge_equal(evidence: str, values: Iterable[object]) -> Judgement:
    """Judge that all values are the same."""
    return held(evidence) if len(set(values)) == 1 else contradicted(evidence)


def format_count(number: float, noun: str) -> str:
    """Return a number with its noun: "1 report", "2 reports"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


OTHER_NAME = "a name of another form"
"""Replacement of a name that does not look like those of Neuron's fields: it may be an id."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def harmless_name(name: str) -> str:
    """Return the name of an unknown field, unless it may identify something."""
    return name if _NAME.fullmatch(name) else OTHER_NAME


MAX_NAMED = 5
"""Number of names that an evidence lists."""


def format_names(names: Iterable[str]) -> str:
    """Return the first names, and the number of the others."""
    names = list(names)
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
