"""The exporter with one thing inside it changed, to see what the rest makes of that.

python altered.py CHANGE COMMAND [FLAG ...]
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.cli import main as cli
from neuron_exporter.daemon import daemon
from neuron_exporter.metrics import report_period as period
from neuron_exporter.model import Moment, SourceState
from neuron_exporter.pipeline import processor as intake
from neuron_exporter.pipeline.processor import Intake
from neuron_exporter.source import neuron_monitor
from neuron_exporter.source.stream import Stream
from neuron_exporter.source.watchdog import PATIENCE, Watchdog


def altered(change: str) -> tuple[str, ...]:
    """The command that takes the exporter's place."""
    return sys.executable, "-P", str(Path(__file__).resolve()), change


class _Impatient(Watchdog):
    """Takes what is half a second old for older than is borne."""

    def complaint(self, stream: Stream, now: float) -> SourceState | None:
        return super().complaint(stream, now + PATIENCE - 0.5)


def _impatient() -> None:
    neuron_monitor.Watchdog = _Impatient  # type: ignore[misc]


def _dying_reader() -> None:
    def line(*_: object) -> float:
        raise MemoryError("no more")

    Intake.line = line  # type: ignore[method-assign,assignment]


def _dying_http() -> None:
    def tick(self: daemon.Daemon, thread: str) -> None:
        if thread == "http":
            raise MemoryError("no more")

    daemon.Daemon._tick = tick  # type: ignore[method-assign]


def _stuck_reader() -> None:
    def line(_: Intake, line: memoryview, at: Moment) -> float:
        threading.Event().wait()
        return 0.0

    Intake.line = line  # type: ignore[method-assign]
    daemon._LONGEST_SILENCE = 1.5
    daemon.Daemon.__init__.__kwdefaults__["stop_seconds"] = 1.0


def _short_lived() -> None:
    """A report may be shown for three periods, however short these are."""
    period.SHORTEST_LIFE = 0.0


def _deaf_resolver() -> None:
    """Looking up cloudwatch.test hangs in the system, where no exception gets in."""
    reading, _ = os.pipe()
    real = socket.getaddrinfo

    def hang(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "cloudwatch.test":
            os.read(reading, 1)
        return real(host, *arguments, **more)

    socket.getaddrinfo = hang


def _stepping_clock() -> None:
    """The wall clock is ahead by what a file says (s), from one reading to the next."""
    real, path = time.time, Path(os.environ["CLOCK_AHEAD"])
    time.time = lambda: real() + float(path.read_text())


def _hurried() -> None:
    """What is done every minute is done as often as at full speed a minute's reports come."""
    intake.SURVEY_EVERY = 0.06


_CHANGES: Mapping[str, Callable[[], None]] = {
    "impatient": _impatient,
    "dying-reader": _dying_reader,
    "dying-http": _dying_http,
    "stuck-reader": _stuck_reader,
    "short-lived": _short_lived,
    "deaf-resolver": _deaf_resolver,
    "stepping-clock": _stepping_clock,
    "hurried": _hurried,
}

if __name__ == "__main__":
    _CHANGES[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
