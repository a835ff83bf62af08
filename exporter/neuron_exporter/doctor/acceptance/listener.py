"""The listener of the source."""

from __future__ import annotations

import time
from collections.abc import Callable

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.recording import Recording
from neuron_exporter.doctor.finding import format_count
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.report import ReportError, decode
from neuron_exporter.source import Source
from neuron_exporter.text import format_duration

PROGRESS_INTERVAL = 60.0
"""Seconds between two lines about the progress."""


class AcceptanceListener:
    """Collect the evidence, and record the reports. Stop a source that wants to restart before it
    has sent a report."""

    def __init__(
        self,
        source: Source,
        evidence: Evidence,
        recording: Recording,
        show_progress: Callable[[str], None],
    ) -> None:
        self._source = source
        self._evidence = evidence
        self._recording = recording
        self._show_progress = show_progress
        self._started = self._progress_at = time.monotonic()
        self.last_state = ""

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Take a report into account; return None if the line is not a report."""
        data = bytes(line)
        try:
            decoded = decode(data)
        except ReportError as error:
            self._evidence.stream.invalid_lines[f"lines ({error.reason})"] += 1
            return None
        self._recording.add(data)
        try:
            self._evidence.observe(data, decoded, at.monotonic)
        except Exception as error:  # noqa: BLE001 (a bug here must not lose the other reports)
            what = f"reports that this check cannot read ({type(error).__name__}; report this bug)"
            self._evidence.stream.invalid_lines[what] += 1
        self._note_progress(at.monotonic)
        return 0.0  # replay a file without pauses

    def on_skipped(self, length: int) -> None:
        """Count a line that is too long."""
        self._evidence.stream.invalid_lines["lines (longer than source.max_line)"] += 1

    def on_state(self, state: SourceState, detail: str) -> None:
        """Remember the state, which explains a source without reports."""
        self.last_state = f"{state.value}: {detail}" if detail else state.value

    def on_restart(self, reason: str, delay: float) -> None:
        """Note a restart. Stop a source that has not sent any report."""
        if self._evidence.stream.reports:
            self._evidence.restart(reason)
        else:
            self._source.stop()

    def on_stderr(self, line: str) -> None:
        """Ignore the line: `on_state` has the last one when the source ends."""

    def on_tick(self) -> None:
        """Do nothing: a timer bounds the run."""

    def _note_progress(self, now: float) -> None:
        if now - self._progress_at >= PROGRESS_INTERVAL:
            self._progress_at = now
            minutes = format_duration((now - self._started) // 60 * 60)
            reports = format_count(self._evidence.stream.reports, "report")
            self._show_progress(f"{minutes}: {reports}")
