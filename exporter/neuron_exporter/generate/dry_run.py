"""Count what a configuration publishes to CloudWatch, by running it without a network.

The reports come from a simulated machine or a file, and the clock follows them. All other parts are
those of the daemon.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from neuron_exporter.generate.offline_pipeline import (
    PLACEHOLDER,
    Inputs,
    build_offline,
    load_inputs,
    read_file,
    simulated_machine,
    uses_pods,
)
from neuron_exporter.generate.options import Configure
from neuron_exporter.model import Pooling, Timestamp
from neuron_exporter.pipeline.cloudwatch import (
    owner_dimensions,
)
from neuron_exporter.sinks.cloudwatch import emf
from neuron_exporter.sinks.cloudwatch.budget import BudgetStatus
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS, ONE_MACHINE, Dimensions
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery.sink import IDENTITY_TIMEOUT
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict

_WINDOWS = 2
_MAX_REPORTS = 60
"""Reports that are simulated for a long window. More would not change the metrics, only the number
of requests that carry their values."""

_PER_ENTITY = (Pooling.CORES, Pooling.DEVICES)


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """Metrics of one dimension set on one machine: their number by name."""

    dimensions: tuple[str, ...]
    metrics: Mapping[str, int]
    shared: bool
    """Whether all machines publish to the same metrics, since no dimension differs."""

    @property
    def count(self) -> int:
        """Number of metrics."""
        return sum(self.metrics.values())


class DryRunResult(NamedTuple):
    """What one machine publishes."""

    sets: tuple[PublishedSet, ...]
    interval: float
    requests_per_window: int
    metrics_per_entity: int
    """Number of metrics if each core and device had its own."""
    log_bytes_per_window: int
    """Bytes that transport emf writes to the log."""
    assumed: tuple[str, ...]
    """Dimensions with assumed values."""
    dropped: Mapping[tuple[str, ...], tuple[str, ...]]
    """Dimension sets that are not published, with their unknown dimensions."""
    budget: BudgetStatus

    @property
    def metrics(self) -> int:
        """Number of metrics of the machine."""
        return sum(each.count for each in self.sets)


def dry_run(
    configure: Configure,
    *,
    instance_type: str,
    stream: str | None = None,
    overrides: Mapping[str, object] | None = None,
) -> DryRunResult:
    """Run the configuration on a machine of this type, or on the reports of a file.

    Identity fields that reports do not have, such as the cluster, are assumed to be known. So are
    the driver's files on a simulated machine, if the configuration reads those of its machine.

    Raises:
        ConfigError: the configuration, the type or the file is invalid.
    """
    settings = {
        "prometheus.enabled": False,
        "cloudwatch.enabled": True,
        "cloudwatch.spool.path": None,
        **(overrides or {}),
    }
    execution = _DryRun(load_inputs(configure, instance_type, stream, settings))
    execution.run()
    return execution.result()


class _CountingTransport:
    """Transport that counts requests, metrics and their samples in place of sending them."""

    def __init__(self, *, to_log: bool) -> None:
        self.samples: defaultdict[Dimensions, Counter[str]] = defaultdict(Counter)
        self.requests: Counter[float] = Counter()
        self.log_bytes: Counter[float] = Counter()
        self._to_log = to_log

    def send(self, request: PutMetricDataRequest) -> Outcome:
        self.requests[request.stamp] += 1
        if self._to_log:
            lines = emf.documents(request.namespace, request.items)
            self.log_bytes[request.stamp] += sum(map(len, lines))
        for datum in request.items:
            dimensions = tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])
            number = sum(datum.get("Counts", [1.0] * len(datum.get("Values", [0]))))
            self.samples[dimensions][datum["MetricName"]] += number
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class _DryRun:
    """A pipeline whose clock follows the reports, so that it runs without waiting."""

    def __init__(self, inputs: Inputs) -> None:
        config = inputs.loaded.config.cloudwatch
        self._inputs = inputs
        self._transport = _CountingTransport(to_log=config.transport == "emf")
        self._start = self._now = 1e9 - 1e9 % config.flush_interval
        self._pipeline = build_offline(inputs, lambda: self._now, connect=lambda _: self._transport)
        self._reports = 0

    def run(self) -> None:
        """Process all reports, and complete the last window."""
        if self._inputs.stream is None:
            self._simulate()
        else:
            read_file(self._pipeline, self._process_next)
        interval = self._pipeline.config.cloudwatch.flush_interval
        self._now += 2 * interval + IDENTITY_TIMEOUT
        self._sink.run_once()

    def _simulate(self) -> None:
        config = self._pipeline.config
        period = int(config.source.period)
        simulated = simulated_machine(
            self._pipeline,
            self._inputs.instance_type,
            with_pods=uses_pods(config),
        )
        number = 0
        while (
            simulated.next_at is not None
            and simulated.next_at < max(_WINDOWS * config.cloudwatch.flush_interval, 2 * period)
            and number < _MAX_REPORTS
        ):
            self._now = self._start + simulated.next_at
            report = simulated.report(number)
            self._process(memoryview(json.dumps(report).encode()))
            number += 1

    def _process(self, line: memoryview) -> float | None:
        covers = self._pipeline.processor.on_line(line, Timestamp(self._now, self._now))
        self._reports += covers is not None
        self._sink.run_once()
        return covers

    def _process_next(self, line: memoryview) -> float | None:
        """Process a line of a file at the time at which it was written."""
        covers = self._process(line)
        self._now += covers or 0.0
        return covers

    def result(self) -> DryRunResult:
        """Return what was published, by dimension set."""
        configuration = self._pipeline.config
        config, of_owner = configuration.cloudwatch, owner_dimensions(configuration)
        machine = self._pipeline.identity.machine()
        used = {name for names in config.dimension_sets for name in names}
        values = {
            name: str(getattr(machine, MACHINE_DIMENSIONS[name]))
            for name in used & MACHINE_DIMENSIONS.keys()
            if name not in config.extra_dimensions and name not in of_owner
        }
        unknown = {
            tuple(names): tuple(name for name in names if values.get(name) == "")
            for names in config.dimension_sets
        }
        by_set: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for dimensions, samples in self._transport.samples.items():
            by_set[tuple(name for name, _ in dimensions)].update(samples.keys())
        of_one_machine = ONE_MACHINE - config.extra_dimensions.keys()
        return DryRunResult(
            sets=tuple(
                PublishedSet(names, dict(metrics), of_one_machine.isdisjoint(names))
                for names, metrics in by_set.items()
            ),
            interval=config.flush_interval,
            requests_per_window=max(self._transport.requests.values(), default=0),
            metrics_per_entity=self._count_per_entity(),
            log_bytes_per_window=max(self._transport.log_bytes.values(), default=0),
            assumed=tuple(name for name in MACHINE_DIMENSIONS if values.get(name) == PLACEHOLDER),
            dropped={names: fields for names, fields in unknown.items() if fields},
            budget=self._sink.budget_status,
        )

    @property
    def _sink(self) -> CloudWatchSink:
        assert self._pipeline.cloudwatch is not None  # noqa: S101 # enabled by dry_run
        return self._pipeline.cloudwatch

    def _count_per_entity(self) -> int:
        per_entity = {
            metric.name
            for row in self._sink.selection.rows
            for metric in row.cloudwatch
            if metric.pooling in _PER_ENTITY
        }
        return sum(
            math.ceil(number / max(1, self._reports)) if name in per_entity else 1
            for samples in self._transport.samples.values()
            for name, number in samples.items()
        )
