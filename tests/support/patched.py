"""The exporter with one detail changed.

python patched.py CHANGE COMMAND [FLAG ...]
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import bcrypt

from neuron_exporter import output
from neuron_exporter.cli import main as cli
from neuron_exporter.daemon import daemon
from neuron_exporter.daemon import problems as judged
from neuron_exporter.facts import problems
from neuron_exporter.metrics import report_period
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline import processor
from neuron_exporter.pipeline.processor import ReportProcessor
from neuron_exporter.sinks.delivery import progress
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.source import neuron_monitor
from neuron_exporter.source.stream import Stream
from neuron_exporter.source.watchdog import SILENCE_TIMEOUT, Watchdog


def patched(change: str) -> tuple[str, ...]:
    """Return the command of the exporter with a change."""
    return sys.executable, "-P", str(Path(__file__).resolve()), change


class SteppingClock:
    """Clock of an exporter that runs with a `stepping` change and this environment."""

    def __init__(self, folder: Path) -> None:
        self._ahead = folder / "clock-ahead"
        self.environment = {"CLOCK_AHEAD": str(self._ahead)}
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set the clock ahead of the machine's, or back to it."""
        new = self._ahead.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._ahead)  # the exporter never reads a part of the number


class _ShortTimeouts(Watchdog):
    """Watchdog that times out after half a second."""

    def deadline(self, stream: Stream) -> float:
        return super().deadline(stream) - SILENCE_TIMEOUT + 0.5


def _short_timeouts() -> None:
    neuron_monitor.Watchdog = _ShortTimeouts  # type: ignore[misc]


def _dying_reader() -> None:
    def on_line(*_: object) -> float:
        raise MemoryError("no more")

    ReportProcessor.on_line = on_line  # type: ignore[method-assign,assignment]


def _dying_http() -> None:
    def tick(self: daemon.Daemon, thread: str) -> None:
        if thread == "http":
            raise MemoryError("no more")

    daemon.Daemon._tick = tick  # type: ignore[method-assign]


def _stuck_reader() -> None:
    def on_line(_: ReportProcessor, line: memoryview, at: Timestamp) -> float:
        threading.Event().wait()
        return 0.0

    ReportProcessor.on_line = on_line  # type: ignore[method-assign]
    daemon._MAX_SILENCE = 3.0
    daemon.Daemon.__init__.__kwdefaults__["stop_seconds"] = 1.0


def _short_lived() -> None:
    """Limit the freshness of a report to three periods, however short these are."""
    report_period.MIN_LIFETIME = 0.0


def _hanging_resolver() -> None:
    """Let the lookup of cloudwatch.test hang in a system call, where no exception can be raised."""
    reading, _ = os.pipe()
    real = socket.getaddrinfo

    def hang(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "cloudwatch.test":
            os.read(reading, 1)
        return real(host, *arguments, **more)

    socket.getaddrinfo = hang


def _stepping(clock: str) -> None:
    """Set a clock of `time` ahead by the seconds in the file of a `SteppingClock`."""
    real, path = getattr(time, clock), Path(os.environ["CLOCK_AHEAD"])
    setattr(time, clock, lambda: real() + float(path.read_text()))


def _frequent_scans() -> None:
    """Scan for unknown fields as often as once a minute would be at full speed."""
    processor.UNKNOWN_FIELD_SCAN_INTERVAL = 0.06


def _held_passwords() -> None:
    """Let comparisons of passwords wait while a file exists."""
    real, path = bcrypt.checkpw, Path(os.environ["HOLDS_PASSWORDS"])

    def compare(password: bytes, hashed_password: bytes) -> bool:
        while path.exists():
            time.sleep(0.02)
        return real(password, hashed_password)

    bcrypt.checkpw = compare


def _held_sink() -> None:
    """Let the sink's thread make no progress while a file exists: it loops if the file says so,
    else it waits."""
    progress.MAX_SILENCE, progress.MAX_BUSY = 2.0, 1.0
    real, path = Spool.maintain, Path(os.environ["HOLDS_SINK"])

    def maintain(self: Spool) -> None:
        while path.exists():
            if path.read_text() != "loop":
                time.sleep(0.2)
        real(self)

    Spool.maintain = maintain  # type: ignore[method-assign]


def _short_log_queue() -> None:
    """Let few lines wait for a slow reader of standard error."""
    output.MAX_LINES = 20


def _short_hangs() -> None:
    """Judge a hang after seconds, not after minutes."""
    problems.HANG_UNKNOWN_SECONDS = problems.HANG_WARNING_SECONDS = 4
    problems.HANG_CRITICAL_SECONDS = 6


def _short_failures() -> None:
    """Judge a sink that fails after seconds, not after minutes."""
    judged.SINK_FAILING_SECONDS = 3


_CHANGES: Mapping[str, Callable[[], None]] = {
    "short-timeouts": _short_timeouts,
    "dying-reader": _dying_reader,
    "dying-http": _dying_http,
    "stuck-reader": _stuck_reader,
    "short-lived": _short_lived,
    "hanging-resolver": _hanging_resolver,
    "stepping-wall-clock": partial(_stepping, "time"),
    "stepping-monotonic-clock": partial(_stepping, "monotonic"),
    "frequent-scans": _frequent_scans,
    "short-log-queue": _short_log_queue,
    "held-passwords": _held_passwords,
    "held-sink": _held_sink,
    "short-hangs": _short_hangs,
    "short-failures": _short_failures,
}

if __name__ == "__main__":
    _CHANGES[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
