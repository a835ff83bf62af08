"""Writes the source's lines to a file, so that they can be replayed and shown to others."""

from __future__ import annotations

import gzip
import json
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

from exporter import log
from exporter.config import ConfigError, Loaded
from exporter.metrics.catalogue import CATALOGUE
from exporter.model import Moment, SourceState
from exporter.pipeline import make_source
from exporter.report import ReportError, decode
from exporter.source import Source, SourceError

_MASKED_KEYS = {
    "instance_name": "machine",
    "instance_id": "i-0000000000000000",
    "ami_id": "ami-0000000000000000",
    "subnet_id": "subnet-0000000000000000",
    "ultraserver_id": "u-0000000000000000",
    "name": "model",
    "uuid": "0" * 32,
    "pod_name": "pod",
    "namespace": "namespace",
}
"""Keys whose values can name somebody, and what stands there instead."""

_log = log.get_logger(command="record")


def record(loaded: Loaded, output: str | None, reports: int | None, *, mask: bool) -> int:
    """Record until the input ends, so many reports are written, or a signal; gives the status.

    Raises:
        ConfigError: the output cannot be written.
    """
    log.configure(loaded.config.log.level, loaded.config.log.format)
    source = make_source(loaded, CATALOGUE)
    try:
        with _open(output) as file:
            recorder = Recorder(source, file, reports, mask=mask)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: source.stop())
            source.run(recorder)
    except FileExistsError as error:
        raise ConfigError(
            [f"--output: {output}: exists already, and is not overwritten"]
        ) from error
    except SourceError as error:
        _log.error("source_failed", reason=str(error))
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError([f"--output: {output}: {error.strerror or error}"]) from error
    where = f" to {output}" if output else ""
    print(f"recorded {recorder.reports} reports{where}", file=sys.stderr)
    if recorder.left_out:
        print(f"left out {recorder.left_out} lines that could not be masked", file=sys.stderr)
    return 0 if recorder.reports else 1


def _open(output: str | None) -> BinaryIO:
    if output is None:
        return open(1, "wb", buffering=0, closefd=False)
    file = open(output, "xb")  # noqa: SIM115 (the caller closes it)
    return cast(BinaryIO, gzip.open(file, "wb")) if Path(output).suffix == ".gz" else file


class Recorder:
    """Listens to a source and writes its lines as they are, or masked."""

    def __init__(self, source: Source, file: BinaryIO, reports: int | None, *, mask: bool) -> None:
        self._source = source
        self._file = file
        self._wanted = reports
        self._mask = mask
        self.reports = 0
        self.left_out = 0

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Write a line."""
        if self._wanted is not None and self.reports >= self._wanted:
            return None
        written = bytes(line)
        if self._mask:
            try:
                written = json.dumps(
                    masked(json.loads(bytes(line))), separators=(",", ":")
                ).encode()
            except (ValueError, RecursionError):
                self.left_out += 1
                return None
        self._file.write(written + b"\n")
        try:
            decode(line)
        except ReportError:
            return None
        self.reports += 1
        if self.reports == self._wanted:
            self._source.stop()
        return 0.0

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


def masked(value: Any, key: str = "") -> Any:
    """A report without names and ids; tags of processes are numbered by their order in it."""
    if isinstance(value, dict):
        return {name: masked(item, name) for name, item in value.items()}
    if isinstance(value, list):
        if key == "neuron_runtime_data":
            return [_masked_runtime(item, at) for at, item in enumerate(value)]
        if key == "container_name":
            return ["container" for _ in value]
        return [masked(item, key) for item in value]
    if isinstance(value, str) and value and key in _MASKED_KEYS:
        return _MASKED_KEYS[key]
    return value


def _masked_runtime(runtime: Any, at: int) -> Any:
    kept = masked(runtime)
    if isinstance(kept, dict) and kept.get("neuron_runtime_tag"):
        kept["neuron_runtime_tag"] = f"runtime-{at}"
    return kept
