"""The listener that writes lines, interrupted by a signal."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator

import pytest

from neuron_exporter.cli.recorder import Interrupted, Recorder
from neuron_exporter.model import Timestamp
from neuron_exporter.source import StdinSource
from tests.support.reports import report


@pytest.fixture
def timer() -> Iterator[None]:
    """Restore the timer and the handler of SIGALRM afterwards."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("timer")
def test_line_that_is_being_written_is_completed() -> None:
    """The signal arrives when a part of the line is written, and its reader is not stuck."""
    line = json.dumps(report()).encode()

    class Output(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            written = super().write(data[:10])
            recorder.interrupt()
            return written

    output = Output()
    recorder = Recorder(StdinSource(len(line)), output, None, None)
    recorder.on_line(memoryview(line), Timestamp(0.0, 0.0))
    assert output.getvalue() == line + b"\n"
    assert recorder.reports == 1


@pytest.mark.usefixtures("timer")
def test_only_a_write_is_aborted() -> None:
    """The timer does not end what the main thread does between two writes."""

    class Output(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            signal.raise_signal(signal.SIGALRM)
            return super().write(data)

    line = json.dumps(report()).encode()
    recorder = Recorder(StdinSource(len(line)), Output(), None, None)
    recorder.interrupt()
    signal.raise_signal(signal.SIGALRM)
    with pytest.raises(Interrupted):
        recorder.on_line(memoryview(line), Timestamp(0.0, 0.0))
    signal.raise_signal(signal.SIGALRM)
