"""The wall clock may be set by hours, and the machine may sleep: no interval is negative, no stamp
is one that CloudWatch refuses, and every execution is counted once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import Given, load
from neuron_exporter.model import Moment
from neuron_exporter.pipeline.build import build
from neuron_exporter.sinks.cloudwatch.datums import LONGEST_AHEAD, LONGEST_PAST
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
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


class Line:
    """A transport that accepts what it is sent, while it is up, and keeps when that was."""

    def __init__(self, clock: Clocked) -> None:
        self.up = True
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self._clock = clock

    def send(self, namespace: str, datums: list[dict[str, Any]]) -> Outcome:
        """Deliver, or fail for now."""
        if not self.up:
            return Outcome(Verdict.RETRY, "Down", "down")
        self.sent += [(self._clock.wall, datum) for datum in datums]
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""


class Clocked:
    """The whole pipeline with a wall clock that is set by hand; reports come every 5 s."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 1000.0
        self.latest = START
        self.executed = 0
        self.line = Line(self)
        self.pipeline = build(
            load(flags=[Given("test", key, value) for key, value in FLAGS.items()]),
            environment={},
            connect=lambda _: self.line,  # type: ignore[arg-type]
            clock=lambda: self.wall,
        )
        assert self.pipeline.cloudwatch is not None
        self.sink = self.pipeline.cloudwatch

    def run(self, seconds: float) -> None:
        """Let time pass, with a report of three executions every period."""
        for _ in range(int(seconds / PERIOD)):
            self.wall += PERIOD
            self.monotonic += PERIOD
            line = json.dumps(report(runtime(execution_stats=executions(3)))).encode()
            assert self.pipeline.intake.line(memoryview(line), Moment(self.wall, self.monotonic))
            self.executed += 3
            self.latest = max(self.latest, self.wall)
            self.sink.step()

    def end(self) -> None:
        """Let the clock come to where it has been already, and every window end."""
        self.wall = max(self.wall, self.latest)
        for _ in range(3):
            self.wall += MINUTE
            self.sink.step()

    def total(self, name: str) -> float:
        """The sum of what was delivered of a metric."""
        return sum(datum["Value"] for _, datum in self.line.sent if datum["MetricName"] == name)

    def dropped(self) -> float:
        """Requests and windows that were given up."""
        return sum(
            sample.value
            for family in self.pipeline.telemetry.sink_dropped.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        )

    def shown(self, name: str) -> float:
        """The sum of a metric's samples in a scrape."""
        assert self.pipeline.prometheus is not None
        text = self.pipeline.prometheus.expose(self.monotonic).decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def verify(self) -> None:
        """What holds whatever the clock does."""
        for now, datum in self.line.sent:
            stamp = datum["Timestamp"].timestamp()
            assert now - LONGEST_PAST <= stamp <= now + LONGEST_AHEAD
            values = datum.get("Values", [datum.get("Value")])
            assert all(value >= 0 for value in values), datum
            assert all(count > 0 for count in datum.get("Counts", [1]))
        beats = [d["Value"] for _, d in self.line.sent if d["MetricName"] == "ExporterHeartbeat"]
        assert set(beats) <= {0.0, 1.0}
        assert self.shown('neuron_executions_total{status_type="completed"') == self.executed


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
def test_a_clock_that_is_set_costs_no_execution(steps: list[float]) -> None:
    """Each execution is in CloudWatch once, under a stamp that is legal when it is sent. Only where
    the clock was wrong by weeks are there windows without a legal stamp; these are counted."""
    clocked = Clocked()
    with capture_logs() as said:
        clocked.run(3 * MINUTE)
        for step in steps:
            clocked.wall += step
            clocked.run(3 * MINUTE)
        clocked.end()
    clocked.verify()
    assert not [event for event in said if "internal error" in str(event)]
    lost = clocked.executed - clocked.total("ExecutionsCompleted")
    if max(map(abs, steps)) < LONGEST_PAST:
        assert (lost, clocked.dropped()) == (0, 0)
    else:
        assert lost >= 0
        assert (lost > 0) is (clocked.dropped() > 0)


@pytest.mark.parametrize("hours", [0.5, 3, 24, 24 * 13])
def test_a_machine_that_slept_goes_on(hours: float) -> None:
    """A sleep is a step of the wall clock alone: nothing is lost, nothing is counted twice."""
    clocked = Clocked()
    clocked.run(2.5 * MINUTE)
    clocked.wall += hours * HOUR
    clocked.run(2.5 * MINUTE)
    clocked.end()
    clocked.verify()
    assert clocked.total("ExecutionsCompleted") == clocked.executed
    assert clocked.dropped() == 0


@pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR, 20 * DAY, -20 * DAY])
def test_what_waited_while_the_clock_was_set_is_sent_or_counted(step: float) -> None:
    """Requests of an outage have stamps of then; those that are illegal now are counted as lost."""
    clocked = Clocked()
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
    assert lost == 0 or not -LONGEST_AHEAD < step < LONGEST_PAST


def test_one_long_report_after_a_sleep_is_no_new_period() -> None:
    """A report that covers hours, since its writer slept, makes no later one live for hours."""
    clocked = Clocked()
    clocked.run(MINUTE)
    clocked.wall += 5 * HOUR
    slept = executions(3)
    slept["period"] = 5 * HOUR
    line = json.dumps(report(runtime(execution_stats=slept))).encode()
    clocked.pipeline.intake.line(memoryview(line), Moment(clocked.wall, clocked.monotonic))
    clocked.executed += 3
    name = "neuroncores_in_use"
    assert clocked.pipeline.prometheus is not None
    assert name in clocked.pipeline.prometheus.expose(clocked.monotonic + 14).decode()
    assert name not in clocked.pipeline.prometheus.expose(clocked.monotonic + 16).decode()
    clocked.run(MINUTE)
    clocked.verify()


def test_a_stop_after_the_clock_was_set_back_sends_what_lies_ahead() -> None:
    """A window that was open when the clock was set back is sent by a stop, too."""
    clocked = Clocked()
    clocked.run(150)
    clocked.wall -= HOUR
    clocked.run(150)
    clocked.sink.start()
    assert clocked.sink.close(10)
    assert clocked.total("ExecutionsCompleted") == clocked.executed
