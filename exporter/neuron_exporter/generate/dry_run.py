"""Count what a configuration publishes to CloudWatch, by running it without a network.

The reports come from a simulated machine or a file, and the clock follows them. All other parts are
those of the daemon.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from neuron_exporter.config import ConfigError, LoadedConfig, Override
from neuron_exporter.config.schema import Config
from neuron_exporter.facts.driver_files import COMPONENTS, HARDWARE_ERRORS
from neuron_exporter.generate.options import Configure
from neuron_exporter.identity.machine import IdentitySource
from neuron_exporter.model import Group, Labels, Machine, Owner, Owners, Pooling, Task, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.cloudwatch import owner_dimensions, owner_dimensions_by_set
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.readings import NO_READINGS, DeviceReadings, HardwareReadings
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.sysfs import ARCHITECTURES
from neuron_exporter.sinks.cloudwatch import emf
from neuron_exporter.sinks.cloudwatch.budget import BudgetStatus
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS, ONE_MACHINE, Dimensions
from neuron_exporter.sinks.cloudwatch.sink import IDENTITY_TIMEOUT, CloudWatchSink
from neuron_exporter.sinks.delivery.transport import Outcome, Request, Verdict
from neuron_exporter.source import SourceError

PLACEHOLDER = "stand-in"
"""Value of identity fields that reports do not have, such as the cluster."""

_WINDOWS = 2
_MAX_REPORTS = 60
"""Reports that are simulated for a long window. More would not change the metrics, only the number
of requests that carry their values."""

_ASSUMED_MACHINE = Machine(
    **{field: PLACEHOLDER for field in MACHINE_DIMENSIONS.values() if field != "ultraserver_id"}
)
"""Identity with all fields known. Most machines are not part of an UltraServer."""

_MAX_DEVICES = 64
"""More devices than any machine has."""

_ASSUMED_OWNERS = Owners(
    task=Task(Owner(task_family=PLACEHOLDER, service=PLACEHOLDER), frozenset(range(_MAX_DEVICES)))
)
"""One ECS task that owns the whole machine."""

_ECS_DIMENSIONS = ("ServiceName", "TaskDefinitionFamily")

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
    otlp_series: int
    otlp_bytes: int
    """Bytes of all Prometheus series, sent once."""
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
    own = configure(()).config
    reads_driver = stream is None and own.hardware.sysfs is not False and is_local_source(own)
    settings = {
        **replay_settings(stream),
        "cloudwatch.enabled": True,
        "cloudwatch.spool.path": None,
        **(overrides or {}),
    }
    flags = [
        Override("--stream" if key in ("source.kind", "source.path") else "cost", key, value)
        for key, value in settings.items()
    ]
    readings = assumed_readings(instance_type) if reads_driver else NO_READINGS
    execution = _DryRun(configure(flags), readings)
    execution.run(instance_type, stream)
    return execution.result()


def replay_settings(stream: str | None) -> dict[str, object]:
    """Return the settings to read the reports of a file or the simulator without waiting."""
    return {
        "source.kind": "simulator" if stream is None else "file",
        "source.path": stream,
        "source.replay.at_end": "exit",
        "source.replay.speed": 0,
        "prometheus.enabled": True,
        "prometheus.web_config_file": None,
    }


class _CountingTransport:
    """Transport that counts requests, metrics and their samples in place of sending them."""

    def __init__(self, *, to_log: bool) -> None:
        self.samples: defaultdict[Dimensions, Counter[str]] = defaultdict(Counter)
        self.requests: Counter[float] = Counter()
        self.log_bytes: Counter[float] = Counter()
        self._to_log = to_log

    def send(self, request: Request) -> Outcome:
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


class _EveryProcess(Mapping[int, Labels]):
    """Process labels of any process: each has them all."""

    def __init__(self, names: Iterable[str]) -> None:
        self._labels = tuple((name, PLACEHOLDER) for name in names)

    def __getitem__(self, pid: int) -> Labels:
        return self._labels

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _DryRun:
    """A pipeline whose clock follows the reports, so that it runs without waiting.

    It is the listener of a file source, in place of the report processor.
    """

    def __init__(self, loaded: LoadedConfig, readings: HardwareReadings) -> None:
        config = loaded.config.cloudwatch
        self._transport = _CountingTransport(to_log=config.transport == "emf")
        self._start = self._now = 1e9 - 1e9 % config.flush_interval
        needs_task = not _used_owner_dimensions(loaded.config).isdisjoint(_ECS_DIMENSIONS)
        self._pipeline: Pipeline = build(
            loaded,
            environment={},
            connect=lambda _: self._transport,
            owners=replace(
                _ASSUMED_OWNERS if needs_task else Owners(),
                process_labels=_EveryProcess(loaded.config.identity.process_labels),
            ),
            hardware=lambda: readings,
            clock=lambda: self._now,
        )
        self._pipeline.identity.update(IdentitySource.ENVIRONMENT, _ASSUMED_MACHINE)
        self._reports = 0

    def run(self, instance_type: str, stream: str | None) -> None:
        """Process all reports, and complete the last window."""
        if stream is None:
            self._simulate(instance_type)
        else:
            try:
                self._pipeline.source.run(self)
            except SourceError as error:
                raise ConfigError([f"--stream: {error}"]) from None
        prometheus = self._pipeline.prometheus
        lines = prometheus.expose(self._now).splitlines() if prometheus is not None else ()
        # The series of a scrape, without values.
        self._exposed = [line.rpartition(b" ")[0] for line in lines if line and line[:1] != b"#"]
        interval = self._pipeline.config.cloudwatch.flush_interval
        self._now += 2 * interval + IDENTITY_TIMEOUT
        self._sink.run_once()

    def _simulate(self, instance_type: str) -> None:
        config = self._pipeline.config
        period = int(config.source.period)
        others = {*_ECS_DIMENSIONS, *config.identity.process_labels}
        has_pods = not _used_owner_dimensions(config) <= others
        options = parse(["--instance-type", instance_type])._replace(
            kubernetes=has_pods and not hardware(instance_type).generation.old_tools,
            periods=dict.fromkeys(self._pipeline.groups or Group, period),
            own_configuration=True,
        )
        simulated = SimulatedMachine(options)
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

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Process a line at the time at which it was written."""
        covers = self._process(line)
        self._now += covers or 0.0
        return covers

    def on_skipped(self, *_: object) -> None:
        """Ignore all other events of a file source."""

    on_state = on_restart = on_stderr = on_tick = on_skipped

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
            otlp_series=len(self._exposed),
            # Name and labels, and eight bytes each for timestamp and value.
            otlp_bytes=sum(len(sample) + 16 for sample in self._exposed),
            log_bytes_per_window=max(self._transport.log_bytes.values(), default=0),
            assumed=tuple(name for name in MACHINE_DIMENSIONS if values.get(name) == PLACEHOLDER),
            dropped={names: fields for names, fields in unknown.items() if fields},
            budget=self._sink.budget_status,
        )

    @property
    def _sink(self) -> CloudWatchSink:
        assert self._pipeline.cloudwatch is not None  # nosec B101 # enabled by dry_run
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


def assumed_readings(instance_type: str) -> HardwareReadings:
    """Return the readings of each device, by a driver that has all files of the machine's type.

    Drivers of Inf1 have other files, which are not read.
    """
    machine = hardware(instance_type)
    architecture = ARCHITECTURES.get(machine.accelerator)
    if architecture is None:
        return NO_READINGS
    cores = range(machine.cores_per_device * machine.logical_core_size)
    device = DeviceReadings(
        power=dict.fromkeys(("min", "max", "avg"), 0.0),
        serial_number=PLACEHOLDER,
        health=dict.fromkeys((*COMPONENTS, "device") if architecture.has_health else (), 1.0),
        ecc_repairable=0,
        resets={"requested": 0, "failed": 0},
        core_errors={core: dict.fromkeys(HARDWARE_ERRORS, 0) for core in cores},
    )
    return HardwareReadings(dict.fromkeys(range(machine.devices), device))


def _used_owner_dimensions(config: Config) -> set[str]:
    """Return the owner dimensions that the dimension sets use."""
    return {name for names in owner_dimensions_by_set(config) for name in names}
