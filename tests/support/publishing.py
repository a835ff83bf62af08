"""The exporter's own way from reports to CloudWatch, without waiting for the time to pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_exporter.config import Override, load
from neuron_exporter.model import Group, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.simulator.context import NextAction
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.sinks.delivery.sink import DeliveringSink

PERIOD = 5
"""Seconds from one report to the next."""

LIVES = 2


class Clock:
    """A time that stands still until the test moves it (Unix seconds)."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def write_simulated(path: Path, count: int, *flags: str) -> Path:
    """Write what a simulated machine prints in so many reports, with every group; where it ends or
    hangs before, it is started once more."""
    options = parse(list(flags))._replace(
        periods=dict.fromkeys(Group, PERIOD), own_configuration=True
    )
    with path.open("wb") as file:
        for _ in range(LIVES):
            machine = Machine(options)
            outputs = map(machine.output, range(count))
            actions = [(file.write(output.stdout), output.next_action)[1] for output in outputs]
            if set(actions) == {NextAction.CONTINUE}:
                break
    return path


class Publisher:
    """The real pipeline and transport, with a file of reports as the source. Listens to the source
    in the intake's place, to give each report its time."""

    def __init__(
        self, pipeline: Pipeline, sink: DeliveringSink[Any] | None, clock: Clock, period: float
    ) -> None:
        assert sink is not None
        self._pipeline = pipeline
        self._sink = sink
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

    def run(self, interval: float, *moments: float) -> None:
        """All reports; then two intervals in which none comes, with a cycle of the sink at each of
        these moments after an interval's end; then what a stop sends."""
        self._pipeline.source.run(self)
        for _ in range(2):
            self._pass(interval - self._clock.now % interval)
            for moment in moments:
                self._pass(moment)
        self._sink.start()
        assert self._sink.close(120)
        status = self._sink.status()
        assert (status["state"], status["queued requests"]) == ("delivering", "0")
        dropped = self._pipeline.telemetry.sink_dropped.collect()
        assert [sample.labels for family in dropped for sample in family.samples] == []

    def _pass(self, seconds: float) -> None:
        self._clock.now += seconds
        self._sink.run_once()


def replayed(path: Path) -> dict[str, Any]:
    """Return the settings that read a file of reports without waiting."""
    return {"source.kind": "file", "source.path": str(path), "source.replay.speed": 0}


def publish(
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
        "cloudwatch.enabled": True,
        "cloudwatch.endpoint_url": url,
        "cloudwatch.region": "us-east-1",
        "cloudwatch.budget.max_metrics": None,
        "cloudwatch.spool.path": None,
        **replayed(path),
        **settings,
    }
    flags = [Override("test", key, value) for key, value in given.items()]
    pipeline = build(load(None, {}, flags), environment={}, clock=clock, hardware=lambda: hardware)
    interval = pipeline.config.cloudwatch.flush_interval
    Publisher(pipeline, pipeline.cloudwatch, clock, period).run(interval, 60)
