"""Requests, transports that send them, and the outcome of an attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple, Protocol, TypeVar

ATTEMPT_SECONDS = 8.0
"""Time limit of one attempt, including the lookup of credentials. Two attempts fit into an orderly
stop."""

MAX_RESPONSE_SIZE = 64 * 1024
"""Bytes that are read of a response, decoded; those of receivers have less than 1 KiB."""

T = TypeVar("T")


class Request(Protocol):
    """A request of a sink. `namespace` and `region` are its destination, `stamp` is the time of its
    oldest content, in Unix seconds."""

    @property
    def namespace(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def stamp(self) -> float: ...


R = TypeVar("R", bound=Request)
R_contra = TypeVar("R_contra", bound=Request, contravariant=True)


class Verdict(Enum):
    """What becomes of a request after an attempt. The values are labels of a metric."""

    DELIVERED = "delivered"
    RETRY = "retried"
    REJECTED = "rejected"


class UnexpectedAnswer(Exception):
    """The response is not the receiver's, or was lost. The request may have arrived."""


class Outcome(NamedTuple):
    """Result of one attempt.

    `code` identifies the failure in metrics, `message` describes it. An `ambiguous` request may
    have arrived although the attempt failed; a retry then delivers it twice. `of_request` is False
    if the request cannot be the cause of the failure, such as throttling. `retry_after` is the
    pause in seconds that the receiver asks for. `clock_agrees` is False if the receiver has not
    shown that it has the same time: by a date, or by accepting a signature.
    """

    verdict: Verdict
    code: str = ""
    message: str = ""
    ambiguous: bool = False
    of_request: bool = True
    retry_after: float = 0.0
    clock_agrees: bool = True


class AcceptedAges(NamedTuple):
    """Stamps that the receiver accepts: up to `past` seconds before now, and `future` after."""

    past: float
    future: float

    def bounds(self, now: float) -> tuple[float, float]:
        """Return the earliest and the latest accepted stamp."""
        return now - self.past, now + self.future

    def rejection(self, stamp: float, now: float) -> str:
        """Return why a stamp would be rejected, `too_old` or `too_far_ahead`; empty if accepted."""
        earliest, latest = self.bounds(now)
        if stamp < earliest:
            return "too_old"
        return "too_far_ahead" if stamp > latest else ""


class Transport(Protocol[R_contra]):
    """Sender of single requests to one region."""

    def send(self, request: R_contra) -> Outcome:
        """Try once to deliver the request. Must not raise."""

    def close(self) -> None:
        """Close connections."""


def split(sized: Iterable[tuple[T, int]], max_items: int, max_bytes: int) -> Iterator[list[T]]:
    """Split items with their sizes into as few lists as their order and the limits allow. An item
    that is larger than `max_bytes` gets a list of its own."""
    batch: list[T] = []
    total = 0
    for item, size in sized:
        if batch and (len(batch) == max_items or total + size > max_bytes):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
