"""Sends requests, each at least once, and keeps what could not be sent until it can.

A request is in the spool before it is sent, so that neither an outage nor a kill loses it. Its
heartbeat is not: that the exporter lives is news only now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from neuron_exporter.sinks.cloudwatch.datums import Datum, untimely
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Transport, Verdict
from neuron_exporter.sinks.delivery.spool.rows import Entry
from neuron_exporter.sinks.delivery.spool.spool import Kept, Spool
from neuron_exporter.sinks.delivery.status import Standing

MOST_FAILURES = 10
"""Failures of one request, while others were delivered, after which it is given up."""

MOST_REGIONS = 4
"""Regions to which connections are kept: an adopted spool may hold requests for another one."""


class Delivery:
    """The way of requests to their region; for one thread."""

    def __init__(
        self,
        connect: Callable[[str], Transport],
        spool: Spool,
        standing: Standing,
        clock: Callable[[], float],
        *,
        only_live: Collection[str] = (),
        proves_clock: bool = True,
    ) -> None:
        """`connect` opens a transport to a region; `only_live` are names of metrics that are not
        kept. What is delivered `proves_clock` where it is signed: AWS refuses a wrong one."""
        self.spool = spool
        self._connect = connect
        self._standing = standing
        self._clock = clock
        self._only_live = only_live
        self._proves_clock = proves_clock
        self._transports: dict[str, Transport] = {}

    def send(
        self,
        requests: Iterable[Entry],
        verdicts: set[Verdict],
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send new requests; once one has to be tried again, or it is too late for another attempt,
        those after it are kept unsent. `verdicts` are those of this cycle, and are added to."""
        for request in requests:
            if Verdict.RETRY in verdicts or (verdicts and is_late()):
                kept = self._without_heartbeat(request)
                if kept is not None:
                    self.spool.add(kept)
            else:
                verdicts.add(self._send_live(request))

    def catch_up(
        self,
        verdicts: set[Verdict],
        at_most: int,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send what waits, oldest first, until one fails; `verdicts` are those of this cycle.

        A request that fails although another was delivered, and not for a trouble of now, goes
        behind the others, so that it does not hold them up, and is given up in the end.
        """
        for _ in range(at_most):
            if Verdict.RETRY in verdicts or enough():
                return
            waiting = self.spool.next()
            if waiting is None:
                return
            outcome = self._try(waiting.entry)
            verdict = outcome.verdict
            if verdict is not Verdict.RETRY:
                self.spool.settled(waiting.key)
            elif Verdict.DELIVERED not in verdicts or not outcome.of_request:
                self.spool.returned(waiting.key)
            elif waiting.failures + 1 < MOST_FAILURES:
                self.spool.returned(waiting.key, failed=True)
            else:
                self._give_up(waiting, outcome)
            verdicts.add(verdict)

    def close(self) -> int:
        """Let go of connections and files; gives how many requests wait for the next start."""
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()
        return self.spool.close()

    def _send_live(self, request: Entry) -> Verdict:
        stamp = request.datums[0]["Timestamp"].isoformat()
        reason = untimely(request.datums, self._clock())
        if reason:
            self._standing.drop(reason)
            self._standing.complain(reason, f"CloudWatch takes no stamp of {stamp} now")
            return Verdict.NEVER
        kept = self._without_heartbeat(request)
        key = None if kept is None else self.spool.keep(kept)
        verdict = self._try(request).verdict
        if key is not None and verdict is Verdict.RETRY:
            self.spool.returned(key)
        elif key is not None:
            self.spool.settled(key)
        return verdict

    def _without_heartbeat(self, request: Entry) -> Entry | None:
        kept: list[Datum] = [
            datum for datum in request.datums if datum["MetricName"] not in self._only_live
        ]
        return Entry(request.namespace, request.region, kept) if kept else None

    def _try(self, request: Entry) -> Outcome:
        try:
            outcome = self._transport(request.region).send(request.namespace, request.datums)
        except Exception as error:  # noqa: BLE001 (a transport's bug must not cost the request)
            outcome = Outcome(Verdict.RETRY, type(error).__name__, f"internal error: {error}")
        if outcome.verdict is Verdict.DELIVERED and self._proves_clock:
            self.spool.confirm_clock()
        self._standing.count(outcome)
        return outcome

    def _transport(self, region: str) -> Transport:
        known = self._transports.get(region)
        if known is None:
            while len(self._transports) >= MOST_REGIONS:
                self._transports.pop(next(iter(self._transports))).close()
            known = self._transports[region] = self._connect(region)
        return known

    def _give_up(self, waiting: Kept, outcome: Outcome) -> None:
        self.spool.settled(waiting.key)
        self._standing.drop("attempts")
        self._standing.complain(outcome.code, f"given up: {outcome.message}")
