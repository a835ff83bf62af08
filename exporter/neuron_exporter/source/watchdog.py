"""Detection of a source that runs but delivers no reports."""

from __future__ import annotations

import time

from neuron_exporter.model import SourceState
from neuron_exporter.source.stream import Stream

SILENCE_TIMEOUT = 15.0
"""Minimum time without a report before the source counts as stalled, in seconds."""

START_TIMEOUT = 60.0
"""Minimum time without a first report before the source counts as stalled, in seconds."""

START_UP_PERIOD = 0.5
"""A report with a shorter period is neuron-monitor's first, which covers only milliseconds. The
periods that neuron-monitor can be configured for are whole seconds."""

MAX_PERIOD = 3600.0
"""Longest period that can be configured, in seconds. Reports with a longer one are capped to it:
one wrong number must not disable the watchdog."""


class Watchdog:
    """Detector of silence and of lines that are not reports.

    Times are in seconds of the monotonic clock.
    """

    def __init__(
        self,
        period: float,
        silence_timeout: float = SILENCE_TIMEOUT,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self._period = period
        self._silence_timeout = silence_timeout
        self._start_timeout = start_timeout
        self._started = time.monotonic()

    def deadline(self, stream: Stream) -> float:
        """Return the time from which on the next report is overdue (s, monotonic)."""
        if stream.last_report is None:
            return self._started + max(self._start_timeout, 3 * self._period)
        period = max(self._period, min(stream.period, MAX_PERIOD))
        allowed = max(3 * period, self._silence_timeout)
        if 0 < period < START_UP_PERIOD:  # the time to the next report is unknown
            allowed += self._start_timeout
        return stream.last_report + allowed

    def check(self, stream: Stream, now: float) -> SourceState | None:
        """Return `GARBAGE` or `STALLED` if the next report is overdue, else None."""
        if now < self.deadline(stream):
            return None
        return SourceState.GARBAGE if stream.garbage_since_report else SourceState.STALLED
