"""What a transport is, and what can become of a request."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from neuron_exporter.sinks.cloudwatch.datums import Datum

ATTEMPT_SECONDS = 8.0
"""What an attempt may take, credentials included: two fit into the time of an orderly stop."""


class Verdict(Enum):
    """What became of a request; the values are labels of a metric."""

    DELIVERED = "delivered"
    RETRY = "retried"
    NEVER = "rejected"


class Outcome(NamedTuple):
    """A verdict with its reason: a code to count by, a sentence to read. `ambiguous` is what may
    have been delivered all the same, and would then count twice. What is `of_request` may fail
    again and again because of what is in it; everything else is a trouble of now."""

    verdict: Verdict
    code: str = ""
    message: str = ""
    ambiguous: bool = False
    of_request: bool = True


class Transport(Protocol):
    """Something that takes requests."""

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Try once to deliver the datums. Does not raise."""

    def close(self) -> None:
        """Let go of connections."""
