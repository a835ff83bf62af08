"""Fleet of exporters in one process: real OTLP sinks, and a simulated clock.

The simulation runs a sink whenever the sink's own thread would run. A request takes no time, so
that peaks are higher than in reality, never lower.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Machine, Timestamp
from neuron_exporter.sinks.delivery.spool.spool import MAX_IN_MEMORY, Spool
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp.request import CODEC, ExportRequest
from neuron_exporter.sinks.otlp.settings import SinkSettings
from neuron_exporter.sinks.otlp.sink import ACCEPTED_AGES, OtlpSink
from neuron_exporter.telemetry import Telemetry
from tests.support.reports import Harness, cores, executions, report, runtime

MIDNIGHT = 1_699_920_000.0
MINUTE = 60.0
REPORT_INTERVAL = 10.0
PAUSE = 3.0
"""Seconds that the endpoint asks for when it throttles."""

_THROTTLED = Outcome(Verdict.RETRY, "HTTP429", "busy", of_request=False, retry_after=PAUSE)
_UNAVAILABLE = Outcome(Verdict.RETRY, "HTTP503", "down", of_request=False)
_DELIVERED = Outcome(Verdict.DELIVERED)


class OtlpFleet:
    """Exporters, their requests, and the endpoint that responds to them.

    The endpoint accepts `quota` requests in any second, None for no limit. `stamps` has the
    accepted stamps of each exporter in the order of their arrival.
    """

    def __init__(self, size: int, quota: int | None = None, seed: int = 1) -> None:
        self.now = MIDNIGHT
        self.is_down = False
        self.throttled = 0
        self.request_times: list[float] = []
        self.stamps: list[list[float]] = [[] for _ in range(size)]
        self._rng = random.Random(seed)
        self._quota = quota
        self._second: deque[float] = deque()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        busy = runtime(neuroncore_counters=cores(_0=50), execution_stats=executions(3))
        self._snapshot = Harness().collect(report(busy)).snapshot
        self._sinks = [
            self._make(number, f"i-{self._rng.getrandbits(68):017x}") for number in range(size)
        ]

    def start(self) -> None:
        """Start every exporter within a second."""
        for sink in self._sinks:
            self._at(self.now + self._rng.uniform(0, 1), lambda sink=sink: self._step(sink))
            self._at(
                self.now + self._rng.uniform(0, REPORT_INTERVAL),
                lambda sink=sink: self._report(sink),
            )

    def run(self, seconds: float) -> None:
        """Advance the clock."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()
        self.now = until

    def peak_rate(self, since: float, until: float) -> int:
        """Return the most requests in any second of that time."""
        window: deque[float] = deque()
        highest = 0
        for time in self.request_times:
            if since <= time < until:
                window.append(time)
                while window[0] <= time - 1:
                    window.popleft()
                highest = max(highest, len(window))
        return highest

    def respond(self, number: int, request: ExportRequest) -> Outcome:
        """Return the endpoint's response to a request of an exporter."""
        self.request_times.append(self.now)
        while self._second and self._second[0] <= self.now - 1:
            self._second.popleft()
        if self.is_down:
            return _UNAVAILABLE
        if self._quota is not None and len(self._second) >= self._quota:
            self.throttled += 1
            return _THROTTLED
        self._second.append(self.now)
        self.stamps[number].append(request.stamp)
        return _DELIVERED

    def _make(self, number: int, instance_id: str) -> OtlpSink:
        machine = Machine(instance_id=instance_id, instance_type="trn1.32xlarge")
        settings = SinkSettings(endpoint="http://collector", sigv4=False, interval=MINUTE)

        def clock() -> float:
            return self.now

        return OtlpSink(
            select_for_prometheus("minimal", [], [])[0],
            settings,
            lambda: machine,
            lambda _: _Transport(self, number),
            Telemetry(),
            lambda _, on_drop: Spool(
                None,
                MAX_IN_MEMORY,
                ACCEPTED_AGES,
                on_drop,
                codec=CODEC,
                destination=("http://collector", ""),
                sink="test",
                clock=clock,
                monotonic=clock,
            ),
            clock=clock,
            monotonic=clock,
        )

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._number), action))

    def _step(self, sink: OtlpSink) -> None:
        sink.run_once()
        self._at(self.now + sink._wait_seconds(), lambda: self._step(sink))

    def _report(self, sink: OtlpSink) -> None:
        sink.offer(replace(self._snapshot, taken_at=Timestamp(self.now, self.now)))
        self._at(self.now + REPORT_INTERVAL, lambda: self._report(sink))


class _Transport:
    """Transport of one exporter."""

    def __init__(self, fleet: OtlpFleet, number: int) -> None:
        self._fleet = fleet
        self._number = number

    def send(self, request: ExportRequest) -> Outcome:
        """Send a request to the endpoint."""
        return self._fleet.respond(self._number, request)

    def close(self) -> None:
        """Do nothing: no connection is open."""
