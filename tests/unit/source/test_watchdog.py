"""Timeouts for a source without reports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from neuron_exporter.model import SourceState
from neuron_exporter.source.stream import Stream, WakeupPipe
from neuron_exporter.source.watchdog import MAX_PERIOD, SILENCE_TIMEOUT, START_TIMEOUT, Watchdog
from tests.support.source_thread import RecordingListener
from tests.support.waiting import wait_for

REPORT = b'{"p": %g}\n'
TEXT = b"level=info msg=hello\n"
TOO_LONG = b"x" * 101 + b"\n"
ENDLESS = b"x" * 101

STALLED = SourceState.STALLED


class Source:
    """A stream that reads from a pipe."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self.stream = Stream(self._reading, 100, RecordingListener(), WakeupPipe())

    def write(self, data: bytes) -> None:
        """Write to the pipe and read from the stream."""
        os.write(self._writing, data)
        self.stream.read_available(5)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def source() -> Iterator[Source]:
    """Yield a source and close it afterwards."""
    source = Source()
    yield source
    source.close()


@pytest.mark.parametrize(
    ("period", "timeout"), [(1.0, 60.0), (5.0, 60.0), (20.0, 60.0), (60.0, 180.0)]
)
def test_start_timeout(source: Source, period: float, timeout: float) -> None:
    """The first report may take 60 s or three periods."""
    watchdog = Watchdog(period)
    now = time.monotonic()

    assert watchdog.check(source.stream, now + timeout - 1) is None
    assert watchdog.check(source.stream, now + timeout + 1) is STALLED


@pytest.mark.parametrize(
    ("period", "covered", "timeout"),
    [
        (1.0, 1, 15.0),
        (5.0, 5, 15.0),
        (10.0, 10, 30.0),
        (5.0, 60, 180.0),
        (60.0, 0, 180.0),
        (0.0, 60, 180.0),
        (0.0, 0, 15.0),
        (0.0, 0.07, 75.0),
        (0.0, 0.5, 15.0),
        (5.0, 0.07, 15.0),
    ],
)
def test_silence_timeout(source: Source, period: float, covered: float, timeout: float) -> None:
    """A later report may take 15 s, or three configured or reported periods.

    After a start-up report, whose stream has an unknown period, it may take a minute more.
    """
    watchdog = Watchdog(period)
    source.write(REPORT % covered)
    last = source.stream.last_report
    assert last is not None

    assert watchdog.check(source.stream, last + timeout - 0.1) is None
    assert watchdog.check(source.stream, last + timeout + 0.1) is STALLED


def test_huge_period_is_capped(source: Source) -> None:
    watchdog = Watchdog(5.0)
    source.write(REPORT % 10**15)
    last = source.stream.last_report
    assert last is not None

    assert watchdog.check(source.stream, last + 3 * MAX_PERIOD + 1) is STALLED


@pytest.mark.parametrize("garbage", [TEXT, TOO_LONG, ENDLESS], ids=["text", "too long", "endless"])
@pytest.mark.parametrize("healthy", [True, False], ids=["after a report", "from the start"])
def test_garbage(source: Source, garbage: bytes, healthy: bool) -> None:
    """A source that prints other lines is in state GARBAGE, not STALLED."""
    watchdog = Watchdog(1.0)
    if healthy:
        source.write(REPORT % 1)
    source.write(garbage)

    now = time.monotonic()
    timeout = SILENCE_TIMEOUT if healthy else START_TIMEOUT
    assert watchdog.check(source.stream, now + timeout - 1) is None
    assert watchdog.check(source.stream, now + timeout + 1) is SourceState.GARBAGE


def test_garbage_before_a_report(source: Source) -> None:
    """Only garbage after the last report counts."""
    watchdog = Watchdog(1.0)
    source.write(TEXT + TOO_LONG + REPORT % 1)

    assert watchdog.check(source.stream, time.monotonic() + SILENCE_TIMEOUT + 1) is STALLED


def test_timeout_starts_at_the_last_report(source: Source) -> None:
    watchdog = Watchdog(1.0)
    source.write(REPORT % 1)
    first = source.stream.last_report
    assert first is not None
    wait_for(lambda: time.monotonic() > first + 0.05)
    source.write(REPORT % 1)
    second = source.stream.last_report
    assert second is not None

    assert second > first
    assert watchdog.check(source.stream, second + SILENCE_TIMEOUT - 0.01) is None
    assert watchdog.check(source.stream, second + SILENCE_TIMEOUT + 0.01) is STALLED
