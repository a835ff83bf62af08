"""A listener that records what a source reports, sources that run in a thread, and their input."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.source import Source, SourceListener
from neuron_exporter.source.stream import WakeupPipe


class RecordingListener:
    """Records everything. A line that is a JSON object counts as a report with period `p`."""

    def __init__(self, on_line: Callable[[bytes], None] = lambda _: None) -> None:
        self.lines: list[bytes] = []
        self.times: list[Timestamp] = []
        self.skipped_lengths: list[int] = []
        self.states: list[tuple[SourceState, str]] = []
        self.restarts: list[tuple[str, float]] = []
        self.stderr_lines: list[str] = []
        self.ticks: list[float] = []
        self._on_line = on_line

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Record a line."""
        data = bytes(line)
        self.lines.append(data)
        self.times.append(at)
        self._on_line(data)
        try:
            document = json.loads(data)
        except ValueError:
            return None
        return float(document.get("p", 0.01)) if isinstance(document, dict) else None

    def on_skipped(self, length: int) -> None:
        """Record the length of a skipped line."""
        self.skipped_lengths.append(length)

    def on_state(self, state: SourceState, detail: str) -> None:
        """Record a state."""
        self.states.append((state, detail))

    def on_restart(self, reason: str, delay: float) -> None:
        """Record the reason for a restart."""
        self.restarts.append((reason, delay))

    def on_stderr(self, line: str) -> None:
        """Record a line of standard error."""
        self.stderr_lines.append(line)

    def on_tick(self) -> None:
        """Record the time."""
        self.ticks.append(time.monotonic())

    def longest_tick_gap(self) -> float:
        """Return the longest time between two ticks."""
        return max((after - before for before, after in pairwise(self.ticks)), default=0.0)


class SourceThread:
    """A source that runs in its own thread."""

    def __init__(self, source: Source, listener: SourceListener) -> None:
        self.source = source
        self.error: BaseException | None = None
        self._listener = listener
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.source.run(self._listener)
        except BaseException as error:  # noqa: BLE001 (raised by `join`)
            self.error = error

    @property
    def ended(self) -> bool:
        """Whether the source has ended."""
        return not self._thread.is_alive()

    def end(self, seconds: float = 60.0) -> float:
        """Stop the source; return how long it took."""
        started = time.monotonic()
        self.source.stop()
        self.join(seconds)
        return time.monotonic() - started

    def join(self, seconds: float = 60.0) -> None:
        """Wait for the source to end, and raise the error that ended it."""
        self._thread.join(seconds)
        assert self.ended, "the source did not end"
        if self.error is not None:
            raise self.error


@contextmanager
def running_source(source: Source, listener: SourceListener) -> Iterator[SourceThread]:
    """Run a source in a thread, and stop it afterwards."""
    run = SourceThread(source, listener)
    try:
        yield run
    finally:
        source.stop()
        run._thread.join(60)
    assert run.ended, "the source did not end"


def record_waits(patch: pytest.MonkeyPatch) -> list[float]:
    """Shorten the waits of sources to milliseconds, and return the list of requested seconds."""
    waits: list[float] = []
    wait = WakeupPipe.wait

    def record(self: WakeupPipe, seconds: float) -> bool:
        waits.append(seconds)
        return wait(self, min(seconds, 0.005))

    patch.setattr(WakeupPipe, "wait", record)
    return waits


class Input:
    """A pipe in place of standard input."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        self._open = True

    def write(self, data: bytes) -> None:
        """Write to the pipe."""
        os.write(self._writing, data)

    def end(self) -> None:
        """End the input."""
        if self._open:
            os.close(self._writing)
            self._open = False


@contextmanager
def open_input() -> Iterator[Input]:
    """Yield an input and close it afterwards."""
    pipe = Input()
    yield pipe
    pipe.end()
    os.close(pipe.reading)
