"""The exporter's own way from reports to an OTLP endpoint, without waiting for the time to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.config import Override, load
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from tests.support.publishing import PERIOD, Clock


def otlp_pipeline(
    url: str,
    clock: Clock,
    settings: Mapping[str, Any],
    hardware: HardwareReadings = NO_READINGS,
) -> Pipeline:
    """Build an exporter that sends to this URL, signed."""
    given = {
        "otlp.enabled": True,
        "otlp.endpoint": url,
        "otlp.auth": "sigv4",
        "otlp.spool.path": None,
        "identity.region": "us-east-1",
        "source.kind": "stdin",
        **settings,
    }
    flags = [Override("test", key, value) for key, value in given.items()]
    return build(load(None, {}, flags), environment={}, clock=clock, hardware=lambda: hardware)


class OtlpPublisher:
    """The real pipeline and transport, with a file of reports as the source. Listens to the source
    in the intake's place, to give each report its time."""

    def __init__(self, pipeline: Pipeline, clock: Clock, period: float) -> None:
        assert pipeline.otlp is not None
        self._pipeline = pipeline
        self._sink = pipeline.otlp
        self._clock = clock
        self._period = period

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline.processor, name)

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Take a report at the time that it is, and let a period pass."""
        covers = self._pipeline.processor.on_line(line, Timestamp(self._clock.now, self._clock.now))
        if covers is not None:
            self._pass(self._period)
        return covers

    def run(self) -> None:
        """All reports; then two intervals in which none comes; then what a stop sends."""
        self._pipeline.source.run(self)
        interval = self._pipeline.config.otlp.interval
        for _ in range(2):
            self._pass(interval - self._clock.now % interval)
            self._pass(0.95 * interval)  # the machine's moment to send has passed
        self._sink.start()
        assert self._sink.close(120)
        status = self._sink.status()
        assert (status["state"], status["queued requests"]) == ("delivering", "0")
        dropped = self._pipeline.telemetry.sink_dropped.collect()
        assert [sample.labels for family in dropped for sample in family.samples] == []

    def _pass(self, seconds: float) -> None:
        self._clock.now += seconds
        self._sink.run_once()


def publish_otlp(
    url: str,
    clock: Clock,
    path: Path,
    settings: Mapping[str, Any],
    period: float = PERIOD,
    hardware: HardwareReadings = NO_READINGS,
) -> None:
    """Publish a file of reports, one every `period` seconds, with the driver's readings, and check
    that the exporter neither holds back nor drops anything."""
    given = {
        "source.kind": "file",
        "source.path": str(path),
        "source.replay.speed": 0,
        **settings,
    }
    OtlpPublisher(otlp_pipeline(url, clock, given, hardware), clock, period).run()
