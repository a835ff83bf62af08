"""The exporter's own way from reports to an OTLP endpoint, without waiting for the time to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.config import Override, load
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from tests.support.publishing import PERIOD, Clock, Publisher, replayed


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
    pipeline = otlp_pipeline(url, clock, {**replayed(path), **settings}, hardware)
    interval = pipeline.config.otlp.interval
    # The machine's moment to send has passed.
    Publisher(pipeline, pipeline.otlp, clock, period).run(interval, 0.95 * interval)
