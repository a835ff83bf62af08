"""The waits of the threads whose liveness `/healthz` reports."""

from __future__ import annotations

from neuron_exporter.daemon import daemon
from neuron_exporter.source import neuron_monitor, replay
from neuron_exporter.web import server


def test_silence_is_longer_than_every_wait() -> None:
    """A thread that only waits is never reported, even if it is late by twice its wait."""
    ticks = {daemon._TICK, neuron_monitor._TICK, replay._TICK}
    waits = {server._MAX_WAIT, neuron_monitor._MAX_WAIT, replay._MAX_WAIT}
    assert 3 * max(waits | ticks) <= daemon._MAX_SILENCE == 30
    assert ticks == {2}, "ticks are two seconds apart when nothing is due"
