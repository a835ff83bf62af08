"""OTLP sinks with a transport that checks and keeps points, and clocks that a test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Machine, Selection, Snapshot, Timestamp
from neuron_exporter.sinks.delivery.spool.spool import MAX_IN_MEMORY, Spool
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp.request import CODEC, ExportRequest
from neuron_exporter.sinks.otlp.settings import SinkSettings
from neuron_exporter.sinks.otlp.sink import ACCEPTED_AGES, OtlpSink
from neuron_exporter.telemetry import Telemetry
from tests.support.otlp_points import History, Point, read_points
from tests.support.reports import Harness, cores, executions, report, runtime

FULL, _ = select_for_prometheus("full", [], [])
MACHINE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
START = 1_700_000_040.0
MINUTE = 60.0
ENDPOINT = "http://collector:4318/v1/metrics"
COMPLETED = "execution_status_total"
OF_COMPLETED = {"status_type": "completed"}
DELIVERED = Outcome(Verdict.DELIVERED)
UNAVAILABLE = Outcome(Verdict.RETRY, "HTTP503", "busy")


class PointTransport:
    """A transport that checks and keeps the points of delivered requests.

    Without a `history`, it accepts late points, as after the clock was set back.
    """

    def __init__(self) -> None:
        self.outcome = DELIVERED
        self.outcome_of: Callable[[ExportRequest], Outcome] = lambda _: self.outcome
        self.attempts: list[ExportRequest] = []
        self.points: list[Point] = []
        self.history: History | None = History(allow_repeats=False)

    def send(self, request: ExportRequest) -> Outcome:
        """Record the request and return the outcome."""
        self.attempts.append(request)
        outcome = self.outcome_of(request)
        if outcome.verdict is Verdict.DELIVERED and request.body:
            points = read_points(request.body, request.stamp)
            self.points += points if self.history is None else self.history.add(points)
        return outcome

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def of(self, name: str, **labels: str) -> list[Point]:
        """Return the points of a metric that have these labels."""
        return [
            each
            for each in self.points
            if each.name == name and labels.items() <= each.labels.items()
        ]

    def seconds(self, name: str, **labels: str) -> list[tuple[float, float | None]]:
        """Return the times of a metric's points, in seconds since START, with their values."""
        return [(each.time / 1e9 - START, each.value) for each in self.of(name, **labels)]


class ManualOtlpSink:
    """A sink with intervals of a minute whose clocks and cycles are controlled by the test."""

    def __init__(
        self,
        *,
        machine: Machine = MACHINE,
        selection: Selection = FULL,
        since: float = START,
        **settings: Any,
    ) -> None:
        self.wall = since
        self.uptime = 0.0
        self.machine = machine
        self.transport = PointTransport()
        self.telemetry = Telemetry()
        self.telemetry.show_otlp()
        defaults = {"endpoint": ENDPOINT, "sigv4": False, "interval": MINUTE, "spread": False}
        self.settings = SinkSettings(**{**defaults, **settings})
        self.sink = OtlpSink(
            selection,
            self.settings,
            lambda: self.machine,
            lambda _: self.transport,
            self.telemetry,
            lambda _, on_drop: Spool(
                None,
                MAX_IN_MEMORY,
                ACCEPTED_AGES,
                on_drop,
                codec=CODEC,
                destination=(self.settings.endpoint or "", self.machine.region),
                sink="otlp",
                clock=lambda: self.wall,
                monotonic=lambda: self.uptime,
            ),
            clock=lambda: self.wall,
            monotonic=lambda: self.uptime,
        )
        self._harness = Harness()

    def wait(self, seconds: float) -> None:
        """Advance both clocks and run a cycle."""
        self.wall += seconds
        self.uptime += seconds
        self.sink.run_once()

    def offer(self, *runtimes: Mapping[str, Any], **changes: Any) -> Snapshot:
        """Offer a report of these runtimes."""
        snapshot = self._harness.collect(report(*map(dict, runtimes), **changes)).snapshot
        snapshot = replace(
            snapshot, taken_at=Timestamp(self.wall, self.uptime), machine=self.machine
        )
        self.sink.offer(snapshot)
        return snapshot

    def minute(self, *tags: str, completed: int = 1) -> None:
        """Offer a report of runtimes with these tags before a minute ends."""
        self.wait(50)
        self.offer(*busy(tags, completed))
        self.wait(10)

    def completed(self, tag: str = "app") -> list[tuple[float, float | None]]:
        """Return the delivered numbers of completed executions of a runtime, with their times."""
        return self.transport.seconds(COMPLETED, runtime_tag=tag, **OF_COMPLETED)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one of the exporter's own metrics."""
        return self.telemetry.registry.get_sample_value(f"neuron_exporter_{name}", labels)


def busy(tags: Iterable[str], completed: int = 1) -> list[dict[str, Any]]:
    """Return runtimes with these tags that have completed so many executions in a report."""
    return [
        runtime(
            pid=100 + number,
            tag=tag,
            execution_stats=executions(completed),
            neuroncore_counters=cores(_0=10),
        )
        for number, tag in enumerate(tags)
    ]
