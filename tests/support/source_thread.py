"""A listener that remembers, and sources that run beside the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

from neuron_exporter.model import Moment, SourceState
from neuron_exporter.source import Listener, Source


class Recorder:
    """Remembers what a source tells. A line is a report if it is a JSON object, and covers `p`."""

    def __init__(self, on_line: Callable[[bytes], None] = lambda _: None) -> None:
        self.lines: list[bytes] = []
        self.times: list[Moment] = []
        self.too_long: list[int] = []
        self.states: list[tuple[SourceState, str]] = []
        self.restarts: list[tuple[str, float]] = []
        self.complaints: list[str] = []
        self.ticks: list[float] = []
        self._on_line = on_line

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Keep a line."""
        kept = bytes(line)
        self.lines.append(kept)
        self.times.append(at)
        self._on_line(kept)
        try:
            document = json.loads(kept)
        except ValueError:
            return None
        return float(document.get("p", 0.01)) if isinstance(document, dict) else None

    def skipped(self, length: int) -> None:
        """Keep the length of a line."""
        self.too_long.append(length)

    def state(self, state: SourceState, detail: str) -> None:
        """Keep a state."""
        self.states.append((state, detail))

    def restarting(self, reason: str, delay: float) -> None:
        """Keep the reason of a restart."""
        self.restarts.append((reason, delay))

    def stderr(self, line: str) -> None:
        """Keep a line of standard error."""
        self.complaints.append(line)

    def tick(self) -> None:
        """Keep the time."""
        self.ticks.append(time.monotonic())

    def longest_silence(self) -> float:
        """The longest time between two ticks."""
        return max((after - before for before, after in pairwise(self.ticks)), default=0.0)


class Run:
    """A source that runs in a thread of its own."""

    def __init__(self, source: Source, listener: Listener) -> None:
        self.source = source
        self.error: BaseException | None = None
        self._listener = listener
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.source.run(self._listener)
        except BaseException as error:  # noqa: BLE001 (told to the test)
            self.error = error

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return not self._thread.is_alive()

    def end(self, seconds: float = 10.0) -> float:
        """Stop it; gives how long it took."""
        started = time.monotonic()
        self.source.stop()
        self.join(seconds)
        return time.monotonic() - started

    def join(self, seconds: float = 10.0) -> None:
        """Wait for its end, and raise what ended it."""
        self._thread.join(seconds)
        assert self.ended, "the source does not end"
        if self.error is not None:
            raise self.error


@contextmanager
def running(source: Source, listener: Listener) -> Iterator[Run]:
    """Run a source beside the test, and stop it after."""
    run = Run(source, listener)
    try:
        yield run
    finally:
        source.stop()
        run._thread.join(10)
    assert run.ended, "the source does not end"
