"""Sends new requests, and retries those in the spool.

A request is spooled before it is sent, so that neither an outage nor a kill loses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Generic

from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.status import DeliveryStatus
from neuron_exporter.sinks.delivery.transport import (
    AcceptedAges,
    Outcome,
    R,
    Transport,
    Verdict,
)

MAX_FAILURES = 10
"""Failures of one request, while others were delivered, after which it is dropped."""


class Sender(Generic[R]):
    """Sender of requests to one region, for one thread."""

    def __init__(
        self,
        connect: Callable[[str], Transport[R]],
        spool: Spool[R],
        status: DeliveryStatus,
        accepted: AcceptedAges,
        clock: Callable[[], float],
        *,
        to_spool: Callable[[R], R | None] = lambda request: request,
        probe: Callable[[], R] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` opens a transport to the region of the first request. `to_spool` returns the
        part of a request that is worth a retry, or None. With `probe`, which makes a request
        without content, the backlog is sent in the order of its stamps."""
        self.spool = spool
        self._connect = connect
        self._status = status
        self._accepted = accepted
        self._clock = clock
        self._to_spool = to_spool
        self._probe = probe
        self._failures = 0
        self._monotonic = monotonic
        self._retry_at = 0.0
        self._transport: Transport[R] | None = None

    def send(
        self,
        requests: Iterable[R],
        verdicts: set[Verdict],
        deadline_passed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send new requests. After a failure, or once the deadline has passed, only spool them.
        `verdicts` collects the verdicts of this cycle."""
        for request in requests:
            if Verdict.RETRY in verdicts or (verdicts and deadline_passed()):
                spooled = self._to_spool(request)
                if spooled is not None:
                    self.spool.add(spooled)
            else:
                verdicts.add(self._send_new(request))

    def drain_backlog(
        self, verdicts: set[Verdict], limit: int, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Send up to `limit` spooled requests, until one fails. If the receiver has asked for a
        pause, send nothing before it is over.

        A request that fails while others are delivered moves behind them, so that it does not
        block them. After `MAX_FAILURES` it is dropped. With a `probe` it stays the next one, and is
        dropped if it has failed `MAX_FAILURES` times in a row, fails again although the receiver
        answers the probe, and the request after it succeeds.
        """
        for _ in range(limit):
            if Verdict.RETRY in verdicts or should_stop() or self._monotonic() < self._retry_at:
                return
            is_suspect = self._probe is not None and self._failures >= MAX_FAILURES
            if is_suspect and not self._is_reachable():
                return
            taken = self.spool.take()
            if taken is None:
                return
            outcome = self._attempt(taken.request)
            verdict = outcome.verdict
            fails = verdict is Verdict.RETRY and outcome.of_request
            self._failures = self._failures + 1 if fails else 0
            if verdict is not Verdict.RETRY:
                self.spool.discard(taken.key)
            elif not (fails and self._others_succeed(verdicts, is_suspect=is_suspect)):
                self.spool.requeue(taken.key)
            elif self._probe is None and taken.failures + 1 < MAX_FAILURES:
                self.spool.requeue(taken.key, failed=True)
            else:
                self._failures = 0
                self.spool.discard(taken.key)
                self._status.drop("attempts")
                self._status.record_failure(outcome.code, f"given up: {outcome.message}")
            verdicts.add(verdict)

    def close(self) -> int:
        """Close the connection and files; return how many requests stay on disk."""
        if self._transport is not None:
            self._transport.close()
        return self.spool.close()

    def _send_new(self, request: R) -> Verdict:
        reason = self._accepted.rejection(request.stamp, self._clock())
        if reason:
            stamp = datetime.fromtimestamp(request.stamp, UTC).isoformat()
            self._status.drop(reason)
            self._status.record_failure(reason, f"a request stamped {stamp} would be rejected now")
            return Verdict.REJECTED
        spooled = self._to_spool(request)
        key = None if spooled is None else self.spool.add_in_flight(spooled)
        verdict = self._attempt(request).verdict
        if key is not None and verdict is Verdict.RETRY:
            self.spool.requeue(key)
        elif key is not None:
            self.spool.discard(key)
        return verdict

    def _is_reachable(self) -> bool:
        """Return whether the receiver answers a request without content, even if it rejects it."""
        outcome = self._exchange(self._probe()) if self._probe else Outcome(Verdict.DELIVERED)
        if outcome.verdict is Verdict.RETRY:
            self._status.record(outcome)
        return outcome.verdict is not Verdict.RETRY

    def _others_succeed(self, verdicts: set[Verdict], *, is_suspect: bool) -> bool:
        """Return whether a request that has failed is the cause itself. With a probe, the next one
        is tried if this one `is_suspect`."""
        if self._probe is None:
            return Verdict.DELIVERED in verdicts
        return is_suspect and self._next_succeeds()

    def _next_succeeds(self) -> bool:
        """Try the request after the one that is in flight; return whether the receiver takes it."""
        taken = self.spool.take()
        if taken is None:
            return False
        if self._attempt(taken.request).verdict is Verdict.RETRY:
            self.spool.requeue(taken.key)
            return False
        self.spool.discard(taken.key)
        return True

    def _attempt(self, request: R) -> Outcome:
        outcome = self._exchange(request)
        if outcome.verdict is Verdict.DELIVERED and outcome.clock_agrees:
            self.spool.confirm_clock()
        self._status.record(outcome)
        return outcome

    def _exchange(self, request: R) -> Outcome:
        try:
            if self._transport is None:
                self._transport = self._connect(request.region)
            outcome = self._transport.send(request)
        except Exception as error:  # noqa: BLE001 (a transport's bug must not cost the request)
            outcome = Outcome(Verdict.RETRY, type(error).__name__, f"internal error: {error}")
        self._retry_at = self._monotonic() + outcome.retry_after
        return outcome
