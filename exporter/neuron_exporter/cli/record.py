"""Writes the source's lines to a file, so that they can be replayed and shown to others."""

from __future__ import annotations

import gzip
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from neuron_exporter import log
from neuron_exporter.config import ConfigError, Loaded
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Moment, SourceState
from neuron_exporter.pipeline.build import make_source
from neuron_exporter.report import Masker, ReportError, decode
from neuron_exporter.source import Source, SourceError

_log = log.get_logger(command="record")


class _OutputError(Exception):
    """The output cannot be written; the cause is the system's error."""


def record(loaded: Loaded, output: str | None, reports: int | None, *, mask: bool) -> int:
    """Record until the input ends, so many reports are written, or a signal; gives the status.

    Raises:
        ConfigError: the output cannot be opened.
    """
    log.configure(loaded.config.log.level, loaded.config.log.format)
    source = make_source(loaded, CATALOGUE)
    recorder = Recorder(source, _open(output), reports, Masker() if mask else None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: source.stop())
    failed = False
    try:
        source.run(recorder)
        recorder.close()
    except SourceError as error:
        _log.error("source_failed", reason=str(error))
        failed = True
    except _OutputError as error:
        if output is None:
            raise cast(OSError, error.__cause__) from None
        print(f"neuron-exporter: --output: {output}: {error}", file=sys.stderr)
        failed = True
    finally:
        recorder.abandon()
    if output is not None and not recorder.lines:
        os.unlink(output)
    where = f" to {output}" if output and recorder.lines else ""
    print(f"recorded {_count(recorder.reports, 'report')}{where}", file=sys.stderr)
    if recorder.left_out:
        print(f"left out {_count(recorder.left_out, 'line')} without a report", file=sys.stderr)
    return 1 if failed or not recorder.reports else 0


def _open(output: str | None) -> BinaryIO:
    if output is None:
        return open(1, "wb", closefd=False)
    try:
        if Path(output).suffix == ".gz":
            return cast(BinaryIO, gzip.open(output, "xb"))
        return open(output, "xb")
    except FileExistsError as error:
        raise ConfigError(
            [f"--output: {output}: exists already, and is not overwritten"]
        ) from error
    except OSError as error:
        raise ConfigError([f"--output: {output}: {error.strerror or error}"]) from error


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Recorder:
    """Listens to a source and writes its lines as they are, or its reports masked."""

    def __init__(
        self, source: Source, file: BinaryIO, reports: int | None, masker: Masker | None
    ) -> None:
        self._source = source
        self._file = file
        self._wanted = reports
        self._masker = masker
        self.lines = 0
        self.reports = 0
        self.left_out = 0

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Write a line."""
        if self.reports == self._wanted:
            return None
        is_report = _is_report(line)
        written = bytes(line)
        if self._masker is not None:
            try:
                written = self._masker.line(written) if is_report else b""
            except (ValueError, RecursionError):
                written = b""
            if not written:
                self.left_out += 1
                return None
        self._write(written + b"\n")
        self.lines += 1
        self.reports += is_report
        if self.reports == self._wanted:
            self._source.stop()
        return 0.0 if is_report else None

    def close(self) -> None:
        """Write what is still held back."""
        try:
            self._file.close()
        except OSError as error:
            raise _OutputError(error.strerror or str(error)) from error

    def abandon(self) -> None:
        """Close what could not be closed in order."""
        with suppress(OSError):
            self._file.close()

    def skipped(self, length: int) -> None:
        """Say that a line was too long to be kept."""
        _log.warning("line_too_long", bytes=length)

    def state(self, state: SourceState, detail: str) -> None:
        """Say what the source is doing."""
        _log.info("source_state", state=state.value, detail=detail)

    def restarting(self, reason: str, delay: float) -> None:
        """Say that the source is started again."""
        _log.info("restarting", reason=reason)

    def stderr(self, line: str) -> None:
        """Pass on what the source says."""
        _log.info("source_says", line=line)

    def tick(self) -> None:
        """Nobody watches."""

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()  # whoever kills us still has the lines until then
        except OSError as error:
            raise _OutputError(error.strerror or str(error)) from error


def _is_report(line: memoryview) -> bool:
    try:
        decode(line)
    except ReportError:
        return False
    return True
