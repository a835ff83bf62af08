"""Decides when a source that still lives is to be treated as broken."""

from __future__ import annotations

import time

from neuron_exporter.model import SourceState
from neuron_exporter.source.stream import Stream

PATIENCE = 15.0
"""Seconds without a report that are borne at least."""

GRACE = 60.0
"""Seconds that a source may take until its first report."""

LONGEST_PERIOD = 3600.0
"""The longest period that can be asked for. A report that claims to cover more is not waited for:
one wrong number would make every later silence look like patience."""


class Watchdog:
    """Watches for silence, and for lines that are no reports.

    Times are in seconds of the monotonic clock.
    """

    def __init__(self, period: float, patience: float = PATIENCE, grace: float = GRACE) -> None:
        self._period = period
        self._patience = patience
        self._grace = grace
        self._started = time.monotonic()

    def complaint(self, stream: Stream, now: float) -> SourceState | None:
        """`GARBAGE` or `STALLED` when the last report is too long ago."""
        if stream.last_report is None:
            late = now - self._started > max(self._grace, 3 * self._period)
        else:
            period = max(self._period, min(stream.period, LONGEST_PERIOD))
            late = now - stream.last_report > max(3 * period, self._patience)
        if not late:
            return None
        return SourceState.GARBAGE if stream.garbage_since_report else SourceState.STALLED
