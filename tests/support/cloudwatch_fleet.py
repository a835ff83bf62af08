"""Fleet of exporters in one process: real CloudWatch sinks, and a simulated clock.

The simulation runs a sink whenever the sink's own thread would run. A request takes no time, so
that peaks are higher than in reality, never lower.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from neuron_exporter.daemon.daemon import STOP_SECONDS
from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Machine, Timestamp
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import memory_spool
from tests.support.reports import Harness, cores, executions, report, runtime

MIDNIGHT = 1_699_920_000.0
MINUTE = 60.0
REPORT_INTERVAL = 10.0

_THROTTLED = Outcome(Verdict.RETRY, "Throttling", "Rate exceeded")
_DELIVERED = Outcome(Verdict.DELIVERED)


class Fleet:
    """Exporters, their requests, and the endpoint that responds to them.

    The endpoint accepts `quota` requests in any second, None for no limit.
    """

    def __init__(self, size: int, quota: int | None = None, seed: int = 1) -> None:
        self.now = MIDNIGHT
        self._rng = random.Random(seed)
        self.telemetry = Telemetry()
        self.selection, _ = select_for_cloudwatch("standard", [], [])
        busy = runtime(neuroncore_counters=cores(_0=50), execution_stats=executions(3))
        self.snapshot = Harness().collect(report(busy)).snapshot
        self.request_times: list[float] = []
        self.throttled = 0
        self.is_down = False
        self._minutes_sent: list[set[float]] = [set() for _ in range(size)]
        self._heartbeats: list[Counter[float]] = [Counter() for _ in range(size)]
        ids = [f"i-{self._rng.getrandbits(68):017x}" for _ in range(size)]
        self._exporters = [_Exporter(self, number, name) for number, name in enumerate(ids)]
        self._quota = quota
        self._second: deque[float] = deque()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def schedule(self, when: float, action: Callable[[], None]) -> None:
        """Run the action at this time."""
        heapq.heappush(self._due, (when, next(self._number), action))

    def run(self, seconds: float) -> None:
        """Advance the clock."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()
        self.now = until

    def start(self, within: float = 1.0) -> None:
        """Start every exporter at a random time within this many seconds."""
        for exporter in self._exporters:
            self.schedule(self.now + self._rng.uniform(0, within), exporter.start)

    def stop(self, within: float = 1.0) -> None:
        """Stop every exporter at a random time within this many seconds."""
        for exporter in self._exporters:
            self.schedule(self.now + self._rng.uniform(0, within), exporter.stop)

    def respond(self, number: int, datums: list[Datum]) -> Outcome:
        """Return the endpoint's response to a request of an exporter."""
        self.request_times.append(self.now)
        while self._second and self._second[0] <= self.now - 1:
            self._second.popleft()
        if self.is_down or (self._quota is not None and len(self._second) >= self._quota):
            self.throttled += not self.is_down
            return _THROTTLED
        self._second.append(self.now)
        for datum in datums:
            timestamp = datum["Timestamp"].timestamp()
            self._minutes_sent[number].add(timestamp)
            self._heartbeats[number][timestamp] += datum["MetricName"] == "ExporterHeartbeat"
        return _DELIVERED

    def peak_rate(self, since: float, until: float, seconds: float = 1.0) -> float:
        """Return the highest rate (requests/s) over any `seconds` of that time."""
        window: deque[float] = deque()
        highest = 0
        for time in self.request_times:
            if since <= time < until:
                window.append(time)
                while window[0] <= time - seconds:
                    window.popleft()
                highest = max(highest, len(window))
        return highest / seconds

    def mean_rate(self, since: float, until: float) -> float:
        """Return the mean rate (requests/s) over that time."""
        return sum(since <= time < until for time in self.request_times) / (until - since)

    def missing_minutes(self, since: float, until: float) -> int:
        """Return the number of minutes without a datum in that time, over all exporters."""
        return sum(
            minute not in sent for sent in self._minutes_sent for minute in _minutes(since, until)
        )

    def heartbeats(self, since: float, until: float) -> Counter[int]:
        """Count the minutes of all exporters by their number of heartbeats."""
        return Counter(
            heartbeats[minute]
            for heartbeats in self._heartbeats
            for minute in _minutes(since, until)
        )

    def timestamps(self) -> set[float]:
        """Return the timestamps of all datums."""
        return set().union(*self._minutes_sent)


def _minutes(since: float, until: float) -> list[float]:
    return [since + MINUTE * number for number in range(round((until - since) / MINUTE))]


class _Exporter:
    """Exporter of one machine, with a new sink for each start."""

    def __init__(self, fleet: Fleet, number: int, instance_id: str) -> None:
        self._fleet = fleet
        self._number = number
        self._machine = Machine(instance_id=instance_id, instance_type="trn1.32xlarge")
        self._sink: CloudWatchSink | None = None

    def start(self) -> None:
        """Start a sink, with a first report a moment later."""
        fleet = self._fleet
        sink = self._sink = CloudWatchSink(
            fleet.selection,
            SinkSettings(
                namespace="NeuronExporter",
                region="us-east-1",
                interval=MINUTE,
                dimension_sets=[["InstanceId", "InstanceType"]],
            ),
            lambda: self._machine,
            lambda _: self,
            fleet.telemetry,
            memory_spool(lambda: fleet.now, lambda: fleet.now),
            clock=lambda: fleet.now,
            monotonic=lambda: fleet.now,
        )
        self._wait(sink)
        fleet.schedule(
            fleet.now + fleet._rng.uniform(0, REPORT_INTERVAL), lambda: self._report(sink)
        )

    def stop(self) -> None:
        """Stop the sink as its thread does, in its send slot."""
        sink, self._sink = self._sink, None
        assert sink is not None
        self._fleet.schedule(self._fleet.now + sink._slot.at_stop(STOP_SECONDS), sink._flush_rest)

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Send a request to the endpoint."""
        return self._fleet.respond(self._number, request.items)

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def _wait(self, sink: CloudWatchSink) -> None:
        self._fleet.schedule(self._fleet.now + sink._wait_seconds(), lambda: self._step(sink))

    def _step(self, sink: CloudWatchSink) -> None:
        if self._sink is sink:
            sink.run_once()
            self._wait(sink)

    def _report(self, sink: CloudWatchSink) -> None:
        if self._sink is sink:
            now = self._fleet.now
            sink.offer(replace(self._fleet.snapshot, taken_at=Timestamp(now, now)))
            self._fleet.schedule(now + REPORT_INTERVAL, lambda: self._report(sink))
