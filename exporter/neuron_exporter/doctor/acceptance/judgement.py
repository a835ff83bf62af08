"""Assumptions, and judgements of them: a result, and the evidence for it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeVar

from neuron_exporter.doctor.acceptance.evidence import Evidence

T = TypeVar("T")


class Result(StrEnum):
    """Result of an assumption on one machine."""

    HELD = "held"
    CONTRADICTED = "did not hold"
    NOT_SEEN = "not seen"


class Judgement(NamedTuple):
    """A result, and the readings that decide it. The evidence names no machine and no process."""

    result: Result
    evidence: str


class NotSeen(Exception):
    """The readings decide nothing; the message is the reason."""


class Assumption(NamedTuple):
    """An assumption.

    `used_by` is the module below `neuron_exporter` whose results would be wrong without it; empty
    if no code uses it yet.
    """

    name: str
    sentence: str
    used_by: str
    decide: Callable[[Evidence], Judgement]

    def judge(self, evidence: Evidence) -> Judgement:
        """Judge the assumption from the evidence."""
        try:
            return self.decide(evidence)
        except NotSeen as reason:
            return Judgement(Result.NOT_SEEN, str(reason))


def assumption(
    name: str, sentence: str, used_by: str = ""
) -> Callable[[Callable[[Evidence], Judgement]], Assumption]:
    """Make an assumption of the function that judges it."""
    return lambda decide: Assumption(name, sentence, used_by, decide)


def held(evidence: str) -> Judgement:
    """Judge that the readings agree with the assumption."""
    return Judgement(Result.HELD, evidence)


def contradicted(evidence: str) -> Judgement:
    """Judge that the readings contradict the assumption."""
    return Judgement(Result.CONTRADICTED, evidence)


def held_if(condition: bool, evidence: str) -> Judgement:
    """Judge that the readings agree with the assumption if the condition is true."""
    return held(evidence) if condition else contradicted(evidence)


def require(readings: T, reason: str) -> T:
    """Return readings that a judgement needs.

    Raises:
        NotSeen: there are none; this is the reason.
    """
    if not readings:
        raise NotSeen(reason)
    return readings
