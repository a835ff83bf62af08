"""Count the bytes that a configuration sends over OTLP, by running it without a network.

The run has an interval of one report: an interval has one point of each series, however long it is.
All other parts are those of the daemon.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from neuron_exporter.generate.offline_pipeline import (
    Inputs,
    build_offline,
    load_inputs,
    read_file,
    simulated_machine,
)
from neuron_exporter.generate.options import Configure
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.otlp import monthly_bytes
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict

if TYPE_CHECKING:  # imported only where it is installed
    from neuron_exporter.sinks.otlp.budget import ByteBudgetStatus
    from neuron_exporter.sinks.otlp.request import ExportRequest

_REPORTS = 3
"""Reports of the simulated machine: a start-up report, and two with all series."""

_ANY_ENDPOINT = "http://localhost:4318"


class Volume(NamedTuple):
    """What is sent in one interval: bytes as CloudWatch counts them, and those of the requests."""

    requests: int = 0
    points: int = 0
    ingested_bytes: int = 0
    bytes: int = 0
    gzip_bytes: int = 0


class OtlpVolume(NamedTuple):
    """What one machine sends: its largest interval, and the status of the budget."""

    interval: float
    largest: Volume
    budget: ByteBudgetStatus


def otlp_volume(
    configure: Configure, *, instance_type: str, stream: str | None = None
) -> OtlpVolume:
    """Run the configuration with OTLP on, on a machine of this type or on the reports of a file.

    Raises:
        ConfigError: the configuration, the type or the file is invalid.
        ImportError: the extra `otlp` is not installed.
    """
    from neuron_exporter.sinks.otlp.budget import ByteBudgetStatus

    own = configure(()).config
    config = own.otlp
    interval = max(1, int(own.source.period))
    share = interval / config.interval
    usd = config.budget.max_monthly_usd
    settings: dict[str, object] = {
        "prometheus.enabled": False,
        "otlp.enabled": True,
        "otlp.spool.path": None,
        "otlp.interval": f"{interval}s",
        "otlp.budget.max_monthly_usd": None if usd is None else usd / share,
    }
    if config.endpoint is None and config.auth == "none":
        settings["otlp.endpoint"] = _ANY_ENDPOINT
    execution = _OtlpRun(load_inputs(configure, instance_type, stream, settings))
    execution.run()
    wanted, _, suppressed, published = execution.budget
    budget = ByteBudgetStatus(
        round(wanted * share),
        monthly_bytes(config),
        {name: round(size * share) for name, size in suppressed.items()},
        round(published * share),
    )
    return OtlpVolume(config.interval, execution.largest, budget)


class _CountingTransport:
    """Transport that counts in place of sending."""

    def __init__(self) -> None:
        self.intervals: defaultdict[float, Volume] = defaultdict(Volume)

    def send(self, request: ExportRequest) -> Outcome:
        from neuron_exporter.compression import SMALL, compress

        so_far = self.intervals[request.stamp]
        sizes = list(_ingested_sizes(request.body))
        self.intervals[request.stamp] = Volume(
            so_far.requests + 1,
            so_far.points + len(sizes),
            so_far.ingested_bytes + sum(sizes),
            so_far.bytes + len(request.body),
            so_far.gzip_bytes + len(compress([request.body], SMALL)),
        )
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: nothing is open."""


def _ingested_sizes(body: bytes) -> Iterator[int]:
    """Yield the bytes of each point as CloudWatch counts them (its page "OTel metrics pricing"):
    labels, time and value, and with each point the metric's name and the resource. Protobuf's sizes
    are assumed."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        of_resource = each.resource.ByteSize()
        for metric in (metric for scope in each.scope_metrics for metric in scope.metrics):
            of_all = of_resource + len(metric.name)
            for point in (*metric.gauge.data_points, *metric.sum.data_points):
                yield of_all + point.ByteSize()


class _OtlpRun:
    """A pipeline whose clock follows the reports, so that it runs without waiting."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._interval = inputs.loaded.config.otlp.interval
        self._transport = _CountingTransport()
        self._now = 1e9
        self._move_to_next_interval()
        self._pipeline = build_offline(
            inputs, lambda: self._now, connect_otlp=lambda _: self._transport
        )
        assert self._pipeline.otlp is not None  # noqa: S101 # enabled by otlp_volume
        self._sink = self._pipeline.otlp

    def run(self) -> None:
        """Process all reports, and send the last interval."""
        if self._inputs.stream is None:
            simulated = simulated_machine(
                self._pipeline,
                self._inputs.instance_type,
                with_pods=self._pipeline.config.identity.kubernetes is True,
            )
            for number in range(_REPORTS):
                self._process(memoryview(json.dumps(simulated.report(number)).encode()))
        else:
            read_file(self._pipeline, self._process)
        self._move_to_next_interval()
        self._sink.run_once()

    def _process(self, line: memoryview) -> float | None:
        covers = self._pipeline.processor.on_line(line, Timestamp(self._now, self._now))
        self._now += covers or 0.0
        self._sink.run_once()
        return covers

    def _move_to_next_interval(self) -> None:
        """Set the clock to the end of the next interval, when the last one must have been sent."""
        self._now += (1.95 * self._interval) - self._now % self._interval

    @property
    def largest(self) -> Volume:
        """The largest interval."""
        volumes = self._transport.intervals.values()
        return max(volumes, key=lambda each: each.bytes, default=Volume())

    @property
    def budget(self) -> ByteBudgetStatus:
        """Status of the budget."""
        return self._sink.budget_status
