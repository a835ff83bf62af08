"""Delivery status of a sink, in metrics, in the log and on the status page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from neuron_exporter.log import get_logger
from neuron_exporter.sinks.delivery.progress import Progress
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import format_duration, safe_message

MAX_CODES = 50
"""Maximum number of distinct error codes of a sink; the others are counted as `OTHER_CODE`."""

OTHER_CODE = "Other"

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_log = get_logger()


_Failure = tuple[str, str]
"""A code for metrics, and a message."""


class DeliveryStatus:
    """Status of a sink: its `state`, the rows of its spool, for the status page, and the `progress`
    of its thread.

    The sink is up after a cycle that delivered a request and lost none, while it makes progress. A
    request that will be retried is a failure only if no other was delivered. A failure is logged
    when its code changes, not while it lasts.
    """

    def __init__(self, sink: str, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.progress = Progress()
        self.spool_rows: dict[str, str] = {}
        self._sink = sink
        self._state = "waiting for its first window"
        self._is_up = False
        self._failing_since: float | None = None
        self._telemetry = telemetry
        self._clock = clock
        self._logged_code = ""
        self._delivered = False
        self._retried: _Failure | None = None
        self._failure: _Failure | None = None
        self._ambiguous = 0
        self._codes: set[str] = set()
        telemetry.sink_up.labels(sink).set_function(
            lambda: self._is_up and not self.progress.is_stalled
        )

    @property
    def state(self) -> str:
        """State of the sink as text."""
        if self.progress.is_stalled:
            return f"no progress for {format_duration(int(self.progress.silence))}: {self._state}"
        return self._state

    @property
    def failing_since(self) -> float | None:
        """Unix time at which the sink ceased to deliver; None while it delivers or waits for its
        first window."""
        if self._failing_since is None and self.progress.is_stalled:
            return round(self._clock() - self.progress.silence)
        return self._failing_since

    def record(self, outcome: Outcome) -> None:
        """Count the outcome of an attempt."""
        self.progress.tick()
        self._telemetry.sink_requests.labels(self._sink, outcome.verdict.value).inc()
        self._telemetry.sink_ambiguous.labels(self._sink).inc(outcome.ambiguous)
        match outcome.verdict:
            case Verdict.DELIVERED:
                self._delivered = True
                if outcome.code:  # a part of the request was rejected
                    self.record_failure(outcome.code, outcome.message)
                self._telemetry.sink_last_success.labels(self._sink).set(self._clock())
            case Verdict.RETRY:
                failure = self._count_error(outcome.code, outcome.message)
                self._retried = self._retried or failure
            case Verdict.REJECTED:
                self.drop("rejected")
                self.record_failure(outcome.code, outcome.message)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count dropped requests."""
        self._telemetry.sink_dropped.labels(self._sink, reason).inc(count)

    def record_failure(self, code: str, message: str) -> None:
        """Record a permanent failure."""
        failure = self._count_error(code, message)
        self._failure = self._failure or failure

    def show_spool(self, spool: Spool[Any]) -> None:
        """Publish the size and the state of the spool."""
        self.spool_rows = {"kept": spool.state}
        if len(spool) and spool.oldest is not None:
            self.spool_rows["oldest"] = datetime.fromtimestamp(spool.oldest, UTC).isoformat()
        telemetry, sink = self._telemetry, self._sink
        telemetry.spool_bytes.labels(sink).set(spool.bytes)
        telemetry.spool_others.labels(sink).set(spool.others)
        telemetry.spool_on_disk.labels(sink).set(spool.state == "disk")
        telemetry.spool_oldest.labels(sink).set(spool.oldest or 0.0 if len(spool) else 0.0)
        self._telemetry.sink_ambiguous.labels(self._sink).inc(spool.ambiguous - self._ambiguous)
        self._ambiguous = spool.ambiguous

    def evaluate(self) -> None:
        """Evaluate what was recorded since the last call, and log a change."""
        self.progress.tick()
        failure = self._failure or (None if self._delivered else self._retried)
        if failure is not None:
            self._fail()
            code, message = failure
            self._state = f"{code}: {message}"
            if code != self._logged_code:
                _log.error("delivery_failing", sink=self._sink, code=code, message=message)
            self._logged_code = code
        elif self._delivered:
            self._is_up, self._failing_since = True, None
            self._state = "delivering"
            if self._logged_code:
                self._logged_code = ""
                _log.info("delivery_recovered", sink=self._sink)
        self._delivered, self._retried, self._failure = False, None, None

    def thread_died(self, error: BaseException) -> None:
        """Report that the sink's thread has ended, and nothing will be sent any more."""
        self._fail()
        self._state = f"its thread died: {safe_message(repr(error))}"
        _log.error("thread_died", sink=self._sink, thread=self._sink, error=repr(error))

    def _fail(self) -> None:
        self._is_up = False
        if self._failing_since is None:
            self._failing_since = self._clock()

    def _count_error(self, code: str, message: str) -> _Failure:
        """Count an error, and return it as it is shown. The endpoint chooses the code, and could
        invent any number of them."""
        if code not in self._codes and (not _CODE.fullmatch(code) or len(self._codes) >= MAX_CODES):
            code = OTHER_CODE
        else:
            self._codes.add(code)
        self._telemetry.sink_errors.labels(self._sink, code).inc()
        return code, safe_message(message)
