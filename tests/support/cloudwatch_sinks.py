"""CloudWatch sinks with a recording transport, in real time or with clocks that a test sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Machine, Selection, Timestamp
from neuron_exporter.sinks.cloudwatch.datums import ACCEPTED_AGES, Datum
from neuron_exporter.sinks.cloudwatch.request import CODEC, PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery.sink import OnDrop
from neuron_exporter.sinks.delivery.spool.spool import MAX_IN_MEMORY, Spool
from neuron_exporter.sinks.delivery.transport import Outcome, Transport, Verdict
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Harness, executions, report, runtime

STANDARD, _ = select_for_cloudwatch("standard", [], [])
MACHINE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
DELIVERED = Outcome(Verdict.DELIVERED)
THROTTLED = Outcome(Verdict.RETRY, "Throttling", "Rate exceeded")
INVALID = Outcome(Verdict.REJECTED, "InvalidParameterValue", "no")
START = 1_700_000_040.0
MINUTE = 60.0
DAY = 86400.0


def request_of(*datums: Datum, namespace: str = "NeuronExporter") -> PutMetricDataRequest:
    """Make a request of these datums."""
    return PutMetricDataRequest(namespace, "us-east-1", START, list(datums))


def memory_spool(
    clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[Machine, OnDrop], Spool]:
    """Return a function that opens a spool in memory."""
    return lambda _, on_drop: Spool(
        None,
        MAX_IN_MEMORY,
        ACCEPTED_AGES,
        on_drop,
        codec=CODEC,
        destination=("", ""),
        sink="test",
        clock=clock,
        monotonic=monotonic,
    )


class RecordingTransport:
    """A transport that records requests and returns a configured outcome."""

    def __init__(self, outcome: Outcome = DELIVERED) -> None:
        self.outcome = outcome
        self.sent: list[list[Datum]] = []
        self.delivered: list[Datum] = []
        self.closed = False

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Record the request and return the outcome."""
        assert request.namespace == "NeuronExporter"
        self.sent.append(request.items)
        if self.outcome is DELIVERED:
            self.delivered += request.items
        return self.outcome

    def close(self) -> None:
        """Record the call."""
        self.closed = True

    def sum_of(self, name: str) -> float:
        """Return the sum of the delivered values of a metric."""
        return sum(d["Value"] for d in list(self.delivered) if d["MetricName"] == name)

    def heartbeats(self) -> list[tuple[float, float]]:
        """Return the delivered heartbeats: seconds since START, and value."""
        return [
            (d["Timestamp"].timestamp() - START, d["Value"])
            for d in self.delivered
            if d["MetricName"] == "ExporterHeartbeat"
        ]


def executions_in(datums: list[Datum]) -> float | None:
    """Return the number of completed executions in a request, if any."""
    return next((d["Value"] for d in datums if d["MetricName"] == "ExecutionsCompleted"), None)


class ManualSink:
    """A sink with windows of a minute whose clocks and cycles are controlled by the test."""

    def __init__(
        self,
        transport: Transport,
        machine: Machine = MACHINE,
        sets: tuple[tuple[str, ...], ...] = (("InstanceId",),),
        since: float = START,
        selection: Selection = STANDARD,
    ) -> None:
        self.wall = since
        self.uptime = 0.0
        self.machine = machine
        self.transport = transport
        self.telemetry = Telemetry()
        self.sink = CloudWatchSink(
            selection,
            SinkSettings(
                namespace="NeuronExporter",
                region="us-east-1",
                interval=MINUTE,
                dimension_sets=sets,
                spread=False,
            ),
            lambda: self.machine,
            lambda _: self.connect(),
            self.telemetry,
            memory_spool(lambda: self.wall, lambda: self.uptime),
            clock=lambda: self.wall,
            monotonic=lambda: self.uptime,
        )
        self._bench = Harness()

    def connect(self) -> Transport:
        """Return the transport."""
        return self.transport

    def wait(self, seconds: float) -> None:
        """Advance both clocks and run a cycle."""
        self.wall += seconds
        self.uptime += seconds
        self.sink.run_once()

    def offer(self, completed: int, age: float = 0.0) -> None:
        """Offer a report with so many executions, taken `age` seconds ago."""
        busy = runtime(execution_stats=executions(completed))
        snapshot = self._bench.collect(report(busy)).snapshot
        self.sink.offer(replace(snapshot, taken_at=Timestamp(self.wall - age, self.uptime)))

    def minute(self, completed: int) -> None:
        """Offer a report and let its window end."""
        self.offer(completed)
        self.wait(MINUTE)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(
            f"neuron_exporter_{name}", {"sink": "cloudwatch", **labels}
        )

    def dropped(self, reason: str) -> float:
        """Return the number of requests dropped for a reason."""
        return self.value("sink_dropped_requests_total", reason=reason) or 0.0


class RunningSink:
    """A sink with short windows that runs in real time."""

    def __init__(self, transport: Transport, machine: Machine = MACHINE, **settings: Any) -> None:
        self.machine = machine
        self.regions: list[str] = []
        self.telemetry = Telemetry()
        self.sink = CloudWatchSink(
            STANDARD,
            SinkSettings(
                **{
                    "namespace": "NeuronExporter",
                    "region": None,
                    "interval": 0.4,
                    "dimension_sets": [["InstanceId", "InstanceType"]],
                    "spread": False,
                    **settings,
                }
            ),
            lambda: self.machine,
            lambda region: self.regions.append(region) or transport,  # type: ignore[func-returns-value]
            self.telemetry,
            memory_spool(),
        )
        self.sink.start()
        self._bench = Harness()

    def offer(self, completed: int) -> None:
        """Offer a report with so many executions."""
        busy = runtime(execution_stats=executions(completed))
        snapshot = self._bench.collect(report(busy)).snapshot
        self.sink.offer(replace(snapshot, taken_at=Timestamp(time.time(), time.monotonic())))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(
            f"neuron_exporter_{name}", {"sink": "cloudwatch", **labels}
        )


@contextmanager
def running_sinks() -> Iterator[Callable[..., RunningSink]]:
    """Yield a function that starts sinks; close them afterwards."""
    started: list[RunningSink] = []

    def make(*arguments: Any, **settings: Any) -> RunningSink:
        started.append(RunningSink(*arguments, **settings))
        return started[-1]

    yield make
    for running in started:
        assert running.sink.close(60)


class SummingTransport(RecordingTransport):
    """A transport that also sums metrics by the names of their dimensions."""

    def sums(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the sum of a metric by the names of its dimensions."""
        found: dict[tuple[str, ...], float] = {}
        for datum in self.delivered:
            if datum["MetricName"] == name:
                names = tuple(each["Name"] for each in datum["Dimensions"])
                found[names] = found.get(names, 0.0) + datum["Value"]
        return found
