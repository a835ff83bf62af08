"""A source that lives and gives no reports is not trusted for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from neuron_exporter.model import SourceState
from neuron_exporter.source.stream import Stream, Wake
from neuron_exporter.source.watchdog import GRACE, LONGEST_PERIOD, PATIENCE, Watchdog
from tests.support.listening import Recorder

REPORT = b'{"p": %d}\n'
GARBAGE = b"level=info msg=hello\n"
TOO_LONG = b"x" * 101 + b"\n"
ENDLESS = b"x" * 101

GARBLED, STALLED = SourceState.GARBAGE, SourceState.STALLED


class Source:
    """A stream over a pipe, written by the test."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self.stream = Stream(self._reading, 100, Recorder(), Wake())

    def write(self, data: bytes) -> None:
        """Write, and have it read."""
        os.write(self._writing, data)
        self.stream.pump(5)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def source() -> Iterator[Source]:
    """A source that is closed after the test."""
    made = Source()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("period", "borne"), [(1.0, 60.0), (5.0, 60.0), (20.0, 60.0), (60.0, 180.0)]
)
def test_a_source_has_time_to_begin(source: Source, period: float, borne: float) -> None:
    """Before the first report, a minute is borne, or three periods."""
    watchdog = Watchdog(period)
    now = time.monotonic()

    assert watchdog.complaint(source.stream, now + borne - 1) is None
    assert watchdog.complaint(source.stream, now + borne + 1) is STALLED


@pytest.mark.parametrize(
    ("period", "covered", "borne"),
    [
        (1.0, 1, 15.0),
        (5.0, 5, 15.0),
        (10.0, 10, 30.0),
        (5.0, 60, 180.0),
        (60.0, 0, 180.0),
        (0.0, 60, 180.0),
    ],
)
def test_a_source_may_be_late(source: Source, period: float, covered: int, borne: float) -> None:
    """After a report, three periods are borne, the asked or the kept one, and 15 s at least."""
    watchdog = Watchdog(period)
    source.write(REPORT % covered)
    last = source.stream.last_report
    assert last is not None

    assert watchdog.complaint(source.stream, last + borne - 0.1) is None
    assert watchdog.complaint(source.stream, last + borne + 0.1) is STALLED


def test_a_report_does_not_buy_eternity(source: Source) -> None:
    """A report that claims to cover centuries puts a complaint off by three hours at most."""
    watchdog = Watchdog(5.0)
    source.write(REPORT % 10**15)
    last = source.stream.last_report
    assert last is not None

    assert watchdog.complaint(source.stream, last + 3 * LONGEST_PERIOD + 1) is STALLED


@pytest.mark.parametrize("noise", [GARBAGE, TOO_LONG, ENDLESS], ids=["text", "too long", "endless"])
@pytest.mark.parametrize("healthy", [True, False], ids=["after a report", "from the start"])
def test_noise_is_not_silence(source: Source, noise: bytes, healthy: bool) -> None:
    """Whoever prints what is no report is blamed for that."""
    watchdog = Watchdog(1.0)
    if healthy:
        source.write(REPORT % 1)
    source.write(noise)

    now = time.monotonic()
    borne = PATIENCE if healthy else GRACE
    assert watchdog.complaint(source.stream, now + borne - 1) is None
    assert watchdog.complaint(source.stream, now + borne + 1) is GARBLED


def test_a_report_makes_up_for_noise(source: Source) -> None:
    """Noise before a report is forgotten: what follows the report is silence."""
    watchdog = Watchdog(1.0)
    source.write(GARBAGE + TOO_LONG + REPORT % 1)

    assert watchdog.complaint(source.stream, time.monotonic() + PATIENCE + 1) is STALLED


def test_every_report_renews_the_patience(source: Source) -> None:
    """Time is counted from the last report, not from the first."""
    watchdog = Watchdog(1.0)
    source.write(REPORT % 1)
    first = source.stream.last_report
    assert first is not None
    time.sleep(0.02)
    source.write(REPORT % 1)
    second = source.stream.last_report
    assert second is not None

    assert second > first
    assert watchdog.complaint(source.stream, first + PATIENCE + 0.01) is None
    assert watchdog.complaint(source.stream, second + PATIENCE + 0.01) is STALLED
