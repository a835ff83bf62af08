"""Listener that writes the lines of a source to a file."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import BinaryIO

from neuron_exporter import log
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.report import Masker, ReportError, decode
from neuron_exporter.source import Source

INTERRUPT_SECONDS = 2.0
"""Time that an interrupted recording waits for the reader of its output."""

_log = log.get_logger(command="record")


class OutputError(Exception):
    """The output cannot be written; `__cause__` is the system's error."""


class Interrupted(Exception):
    """The recording was interrupted while it waited for the reader of its output."""


class Recorder:
    """Listener that writes lines unchanged or, with a masker, masked reports only.

    It stops the source after `max_reports` reports.
    """

    def __init__(
        self, source: Source, file: BinaryIO, max_reports: int | None, masker: Masker | None
    ) -> None:
        self._source = source
        self._file = file
        self._max_reports = max_reports
        self._masker = masker
        self.lines = 0
        self.reports = 0
        self.lines_dropped = 0
        self._state = SourceState.STARTING, ""
        self._is_writing = False

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Write a line."""
        if self.reports == self._max_reports:
            return None
        try:
            decode(line)
            is_report = True
        except ReportError:
            is_report = False
        written = bytes(line)
        if self._masker is not None:
            try:
                written = self._masker.mask_line(written) if is_report else b""
            except (ValueError, RecursionError):
                written = b""
            if not written:
                self.lines_dropped += 1
                return None
        self._write(written + b"\n")
        self.lines += 1
        self.reports += is_report
        if self.reports == self._max_reports:
            self._source.stop()
        return 0.0 if is_report else None

    def interrupt(self) -> None:
        """Stop the source and, after a time, a write whose reader is stuck. Call it from a signal
        handler.

        The main thread then raises `Interrupted` out of its write.
        """
        self._source.stop()
        signal.signal(signal.SIGALRM, lambda *_: self._abort_write())
        signal.setitimer(signal.ITIMER_REAL, INTERRUPT_SECONDS, INTERRUPT_SECONDS)

    def _abort_write(self) -> None:
        if self._is_writing:
            raise Interrupted

    def close(self) -> None:
        """Write what is still in the buffer."""
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(error.strerror or str(error)) from error

    def abandon(self) -> None:
        """Close the file, ignoring errors."""
        with suppress(OSError):
            self._file.close()

    def on_skipped(self, length: int) -> None:
        """Log a line that was too long."""
        _log.warning("report_invalid", reason=f"line of {length} bytes is too long")

    def on_state(self, state: SourceState, detail: str) -> None:
        """Log the state of the source if it has changed."""
        if (state, detail) != self._state:
            self._state = state, detail
            _log.info("source_state", state=state.value, detail=detail)

    def on_restart(self, reason: str, delay: float) -> None:
        """Log a restart."""
        _log.info("source_restarting", reason=reason)

    def on_stderr(self, line: str) -> None:
        """Log a line of the child's standard error."""
        _log.info("source_stderr", line=line)

    def on_tick(self) -> None:
        """Do nothing: no health check watches this thread."""

    def _write(self, data: bytes) -> None:
        self._is_writing = True
        try:
            while data:
                data = data[self._file.write(data) :]
            self._file.flush()  # a kill must not lose lines
        except OSError as error:
            raise OutputError(error.strerror or str(error)) from error
        finally:
            self._is_writing = False
