"""A stop while a slow service has not accepted every window."""

from __future__ import annotations

import time
from pathlib import Path

from structlog.testing import capture_logs

from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch.datums import ACCEPTED_AGES
from neuron_exporter.sinks.cloudwatch.request import CODEC, PutMetricDataRequest
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.transport import Outcome
from tests.support.cloudwatch_sinks import MINUTE, ManualSink, RecordingTransport


class SlowTransport(RecordingTransport):
    """A transport that delivers slowly."""

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Deliver after a second."""
        until = time.monotonic() + 1
        while time.monotonic() < until:
            pass
        return super().send(request)


def test_stop_spools_unsent_windows(tmp_path: Path) -> None:
    manual = ManualSink(SlowTransport())
    spool: list[Spool] = []

    def on_disk(_: Machine, dropped: object) -> Spool:
        clocks = {"clock": lambda: manual.wall, "monotonic": lambda: manual.uptime}
        spool.append(
            Spool(
                tmp_path / "s.db",
                2**20,
                ACCEPTED_AGES,
                manual.sink._status.drop,
                codec=CODEC,
                destination=("NeuronExporter", "us-east-1"),
                sink="test",
                **clocks,
            )
        )
        return spool[0]

    manual.sink._open_spool = on_disk
    for number in range(8):
        manual.offer(1, age=-number * MINUTE)
    manual.wall += 8 * MINUTE - 1
    with capture_logs() as log:
        manual.sink.start()
        assert manual.sink.close(6)
    sent = manual.transport.sum_of("ExecutionsCompleted")  # type: ignore[attr-defined]
    assert 1 <= sent < 8
    (spooled,) = [event for event in log if event["event"] == "requests_spooled"]
    assert sent + spooled["requests"] == 8
    assert "data_lost" not in {event["event"] for event in log}
