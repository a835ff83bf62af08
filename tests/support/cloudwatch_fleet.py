"""A fleet of exporters in one process: real sinks, one clock that a simulation moves.

A sink is woken when its own thread would be, a transport notes when it was called. A request takes
no time here, which makes peaks higher than they would be, never lower.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from neuron_exporter.daemon.daemon import STOP_SECONDS
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Machine, Moment
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Bench, cores, executions, report, runtime

MIDNIGHT = 1_699_920_000.0
MINUTE = 60.0
REPORTS_EVERY = 10.0

_THROTTLED = Outcome(Verdict.RETRY, "Throttling", "Rate exceeded")
_DELIVERED = Outcome(Verdict.DELIVERED)


class Fleet:
    """Exporters, the requests that they made, and the endpoint that answers them.

    `quota` is how many requests the endpoint takes in any second; None takes all.
    """

    def __init__(self, size: int, quota: int | None = None, seed: int = 1) -> None:
        self.now = MIDNIGHT
        self._rng = random.Random(seed)
        self.telemetry = Telemetry()
        self.selection, _ = for_cloudwatch("standard", [], [])
        busy = runtime(neuroncore_counters=cores(_0=50), execution_stats=executions(3))
        self.snapshot = Bench().collect(report(busy)).snapshot
        self.asked: list[float] = []
        self.throttled = 0
        self.is_down = False
        self._minutes: list[set[float]] = [set() for _ in range(size)]
        self._beats: list[Counter[float]] = [Counter() for _ in range(size)]
        ids = [f"i-{self._rng.getrandbits(68):017x}" for _ in range(size)]
        self._exporters = [_Exporter(self, at, name) for at, name in enumerate(ids)]
        self._quota = quota
        self._second: deque[float] = deque()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do this when the clock is there."""
        heapq.heappush(self._due, (when, next(self._number), do))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, do = heapq.heappop(self._due)
            self.now = max(self.now, when)
            do()
        self.now = until

    def start(self, within: float = 1.0) -> None:
        """Start every exporter within so many seconds."""
        for exporter in self._exporters:
            self.at(self.now + self._rng.uniform(0, within), exporter.start)

    def stop(self, within: float = 1.0) -> None:
        """Stop every exporter within so many seconds."""
        for exporter in self._exporters:
            self.at(self.now + self._rng.uniform(0, within), exporter.stop)

    def answer(self, number: int, datums: list[Datum]) -> Outcome:
        """What the endpoint says to a request of an exporter."""
        self.asked.append(self.now)
        while self._second and self._second[0] <= self.now - 1:
            self._second.popleft()
        if self.is_down or (self._quota is not None and len(self._second) >= self._quota):
            self.throttled += not self.is_down
            return _THROTTLED
        self._second.append(self.now)
        for datum in datums:
            stamp = datum["Timestamp"].timestamp()
            self._minutes[number].add(stamp)
            self._beats[number][stamp] += datum["MetricName"] == "ExporterHeartbeat"
        return _DELIVERED

    def peak(self, since: float, until: float, seconds: float = 1.0) -> float:
        """The highest rate (requests a second) over any so many seconds of that time."""
        inside: deque[float] = deque()
        most = 0
        for moment in self.asked:
            if since <= moment < until:
                inside.append(moment)
                while inside[0] <= moment - seconds:
                    inside.popleft()
                most = max(most, len(inside))
        return most / seconds

    def mean(self, since: float, until: float) -> float:
        """Requests a second over that time."""
        return sum(since <= moment < until for moment in self.asked) / (until - since)

    def unknown(self, since: float, until: float) -> int:
        """How many of the minutes that begin in that time have no datum, over all exporters."""
        return sum(
            minute not in known for known in self._minutes for minute in _minutes(since, until)
        )

    def beats(self, since: float, until: float) -> Counter[int]:
        """How many of these minutes have how many heartbeats."""
        return Counter(beats[minute] for beats in self._beats for minute in _minutes(since, until))

    def stamps(self) -> set[float]:
        """Every stamp that came."""
        return set().union(*self._minutes)


def _minutes(since: float, until: float) -> list[float]:
    return [since + MINUTE * number for number in range(round((until - since) / MINUTE))]


class _Exporter:
    """One machine's sink, each life of which is another object."""

    def __init__(self, fleet: Fleet, number: int, instance_id: str) -> None:
        self._fleet = fleet
        self._number = number
        self._machine = Machine(instance_id=instance_id, instance_type="trn1.32xlarge")
        self._sink: CloudWatchSink | None = None

    def start(self) -> None:
        """Begin a life, with a first report a moment later."""
        fleet = self._fleet
        sink = self._sink = CloudWatchSink(
            fleet.selection,
            Settings(
                namespace="NeuronExporter",
                region="us-east-1",
                interval=MINUTE,
                dimension_sets=[["InstanceId", "InstanceType"]],
            ),
            lambda: self._machine,
            lambda _: self,
            fleet.telemetry,
            clock=lambda: fleet.now,
            monotonic=lambda: fleet.now,
        )
        self._wait(sink)
        fleet.at(fleet.now + fleet._rng.uniform(0, REPORTS_EVERY), lambda: self._report(sink))

    def stop(self) -> None:
        """End this life as the sink's thread does, when its turn has come."""
        sink, self._sink = self._sink, None
        assert sink is not None
        self._fleet.at(self._fleet.now + sink._turn.at_stop(STOP_SECONDS), sink._flush_rest)

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Ask the endpoint."""
        return self._fleet.answer(self._number, datums)

    def close(self) -> None:
        """Nothing is open."""

    def _wait(self, sink: CloudWatchSink) -> None:
        self._fleet.at(self._fleet.now + sink._pause(), lambda: self._step(sink))

    def _step(self, sink: CloudWatchSink) -> None:
        if self._sink is sink:
            sink.step()
            self._wait(sink)

    def _report(self, sink: CloudWatchSink) -> None:
        if self._sink is sink:
            now = self._fleet.now
            sink.offer(replace(self._fleet.snapshot, taken_at=Moment(now, now)))
            self._fleet.at(now + REPORTS_EVERY, lambda: self._report(sink))
