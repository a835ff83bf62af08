"""Steps of the wall clock and a sleeping machine: intervals stay positive, CloudWatch accepts every
timestamp, and each execution is counted once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import Override, load
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.sinks.cloudwatch.datums import MAX_AGE, MAX_AHEAD
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from tests.support.reports import executions, report, runtime

START = 1_700_000_040.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
PERIOD = 5.0
FLAGS = {
    "cloudwatch.enabled": "true",
    "cloudwatch.region": "us-east-1",
    "cloudwatch.dimension_sets": [["InstanceId"]],
    "cloudwatch.spool.path": None,
    "identity.imds": "false",
    "source.period": "5s",
}


class RecordingTransport:
    """Transport that accepts requests while it is up, and records them with the time."""

    def __init__(self, clock: ClockedPipeline) -> None:
        self.up = True
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self._clock = clock

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Deliver the request, or fail for now."""
        if not self.up:
            return Outcome(Verdict.RETRY, "Down", "down")
        self.sent += [(self._clock.wall, datum) for datum in request.items]
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: there is no connection."""


class ClockedPipeline:
    """A pipeline with a manual wall clock and a report every 5 s."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 1000.0
        self.latest = START
        self.executed = 0
        self.line = RecordingTransport(self)
        self.pipeline = build(
            load(flags=[Override("test", key, value) for key, value in FLAGS.items()]),
            environment={},
            connect=lambda _: self.line,  # type: ignore[arg-type]
            clock=lambda: self.wall,
        )
        assert self.pipeline.cloudwatch is not None
        self.sink = self.pipeline.cloudwatch

    def run(self, seconds: float) -> None:
        """Advance the clocks, with a report of three executions every period."""
        for _ in range(int(seconds / PERIOD)):
            self.wall += PERIOD
            self.monotonic += PERIOD
            line = json.dumps(report(runtime(execution_stats=executions(3)))).encode()
            assert self.pipeline.processor.on_line(
                memoryview(line), Timestamp(self.wall, self.monotonic)
            )
            self.executed += 3
            self.latest = max(self.latest, self.wall)
            self.sink.run_once()

    def end(self) -> None:
        """Advance the clock past all former times, and end every window."""
        self.wall = max(self.wall, self.latest)
        for _ in range(3):
            self.wall += MINUTE
            self.sink.run_once()

    def total(self, name: str) -> float:
        """Return the delivered sum of a metric."""
        return sum(datum["Value"] for _, datum in self.line.sent if datum["MetricName"] == name)

    def dropped(self) -> float:
        """Return the number of requests and windows that were dropped."""
        return sum(
            sample.value
            for family in self.pipeline.telemetry.sink_dropped.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        )

    def exposed(self, name: str) -> float:
        """Return the sum of a metric's samples in a scrape."""
        assert self.pipeline.prometheus is not None
        text = self.pipeline.prometheus.expose(self.monotonic).decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def verify(self) -> None:
        """Check what must hold whatever the clock does."""
        for now, datum in self.line.sent:
            stamp = datum["Timestamp"].timestamp()
            assert now - MAX_AGE <= stamp <= now + MAX_AHEAD
            values = datum.get("Values", [datum.get("Value")])
            assert all(value >= 0 for value in values), datum
            assert all(count > 0 for count in datum.get("Counts", [1]))
        beats = [d["Value"] for _, d in self.line.sent if d["MetricName"] == "ExporterHeartbeat"]
        assert set(beats) <= {0.0, 1.0}
        assert self.exposed('neuron_executions_total{status_type="completed"') == self.executed


STEPS = {
    "an hour ahead": [HOUR],
    "an hour back": [-HOUR],
    "three hours ahead": [3 * HOUR],
    "three hours back": [-3 * HOUR],
    "ahead and back": [5 * HOUR, -5 * HOUR],
    "back and ahead": [-5 * HOUR, 5 * HOUR],
    "half a minute to and fro": [30.0, -30.0] * 4,
    "a day back": [-DAY],
    "a month ahead": [30 * DAY],
    "a month back": [-30 * DAY],
    "a month ahead and back": [30 * DAY, -30 * DAY],
    "from 1970": [-START + 7.0, START - 7.0],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_clock_step_loses_no_execution(steps: list[float]) -> None:
    """Where the clock was wrong by weeks, windows lack a valid timestamp and are counted."""
    clocked = ClockedPipeline()
    with capture_logs() as events:
        clocked.run(3 * MINUTE)
        for step in steps:
            clocked.wall += step
            clocked.run(3 * MINUTE)
        clocked.end()
    clocked.verify()
    assert not [event for event in events if "internal error" in str(event)]
    lost = clocked.executed - clocked.total("ExecutionsCompleted")
    if max(map(abs, steps)) < MAX_AGE:
        assert (lost, clocked.dropped()) == (0, 0)
    else:
        assert lost >= 0
        assert (lost > 0) is (clocked.dropped() > 0)


@pytest.mark.parametrize("hours", [0.5, 3, 24, 24 * 13])
def test_sleep_loses_no_execution(hours: float) -> None:
    clocked = ClockedPipeline()
    clocked.run(2.5 * MINUTE)
    clocked.wall += hours * HOUR
    clocked.run(2.5 * MINUTE)
    clocked.end()
    clocked.verify()
    assert clocked.total("ExecutionsCompleted") == clocked.executed
    assert clocked.dropped() == 0


@pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR, 20 * DAY, -20 * DAY])
def test_clock_step_during_outage(step: float) -> None:
    """Requests with timestamps that became invalid are counted as dropped."""
    clocked = ClockedPipeline()
    clocked.line.up = False
    clocked.run(5 * MINUTE)
    clocked.wall += step
    clocked.run(2 * MINUTE)
    clocked.line.up = True
    clocked.run(10 * MINUTE)
    clocked.end()
    clocked.verify()
    lost = clocked.executed - clocked.total("ExecutionsCompleted")
    assert lost >= 0
    assert (lost > 0) is (clocked.dropped() > 0)
    assert lost == 0 or not -MAX_AHEAD < step < MAX_AGE


def test_long_report_after_sleep_does_not_extend_freshness() -> None:
    clocked = ClockedPipeline()
    clocked.run(MINUTE)
    clocked.wall += 5 * HOUR
    slept = executions(3)
    slept["period"] = 5 * HOUR
    line = json.dumps(report(runtime(execution_stats=slept))).encode()
    clocked.pipeline.processor.on_line(memoryview(line), Timestamp(clocked.wall, clocked.monotonic))
    clocked.executed += 3
    name = "neuroncores_in_use"
    assert clocked.pipeline.prometheus is not None
    assert name in clocked.pipeline.prometheus.expose(clocked.monotonic + 14).decode()
    assert name not in clocked.pipeline.prometheus.expose(clocked.monotonic + 16).decode()
    clocked.run(MINUTE)
    clocked.verify()


def test_stop_after_step_back_sends_open_windows() -> None:
    clocked = ClockedPipeline()
    clocked.run(150)
    clocked.wall -= HOUR
    clocked.run(150)
    clocked.sink.start()
    assert clocked.sink.close(60)
    assert clocked.total("ExecutionsCompleted") == clocked.executed
