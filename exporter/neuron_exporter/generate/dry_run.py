"""Counts what a configuration publishes to CloudWatch, by running it: all but the network is real.

The reports are those of a simulated machine, or of a file; the time is their own.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from neuron_exporter.config import ConfigError, Given, Loaded, suggest
from neuron_exporter.config.schema import CloudWatch
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.identity.machine import Step
from neuron_exporter.model import Group, Machine, Moment, Owner, Owners, Pooling, SourceState, Task
from neuron_exporter.pipeline import cloudwatch as publish
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.sinks.cloudwatch import emf
from neuron_exporter.sinks.cloudwatch.budget import Spending
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS, ONE_MACHINE, Dimensions
from neuron_exporter.sinks.cloudwatch.sink import IDENTITY_PATIENCE, CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.source.stream import SourceError

STAND_IN = "stand-in"
"""The value of a field that a machine's surroundings tell, and a report does not."""

DEFAULT_INSTANCE_TYPE = "trn1.32xlarge"
"""The machine that is simulated where none is named."""

_WINDOWS = 2
_MOST_REPORTS = 60
"""Of a longer window only so many are simulated: more change no metric, only how many requests
its values need."""

_SURROUNDINGS = Machine(
    **{field: STAND_IN for field in FIELDS.values() if field != "ultraserver_id"}
)
"""All that somebody could tell. Most machines are part of no UltraServer."""

_MOST_DEVICES = 64
"""More than any machine has."""

_WORKLOAD = Owners(
    task=Task(Owner(task_family=STAND_IN, service=STAND_IN), frozenset(range(_MOST_DEVICES)))
)
"""One task of ECS that has the whole machine."""

_OF_ECS = ("ServiceName", "TaskDefinitionFamily")

_SPOTS = (Pooling.CORES, Pooling.DEVICES)

Configure = Callable[[Iterable[Given]], Loaded]
"""The user's configuration with these flags."""


@dataclass(frozen=True, slots=True)
class Part:
    """The metrics of one dimension set: how many there are of each name, on one machine."""

    dimensions: tuple[str, ...]
    metrics: Mapping[str, int]
    shared: bool
    """Whether all machines publish the same metrics: no dimension tells them apart."""

    @property
    def count(self) -> int:
        """All of its metrics."""
        return sum(self.metrics.values())


@dataclass(frozen=True, slots=True)
class Count:
    """What one machine publishes. `spots` is how many metrics it would be with one for each core
    and device; `otlp_bytes` are those of all `otlp_series` of Prometheus, once; with transport emf,
    `log_bytes_a_window` go to the log. `assumed` are dimensions whose values nobody here tells,
    `dropped` the sets that lack some; `spending` says what the budget drops."""

    parts: tuple[Part, ...]
    interval: float
    requests_a_window: int
    spots: int
    otlp_series: int
    otlp_bytes: int
    log_bytes_a_window: int
    assumed: tuple[str, ...]
    dropped: Mapping[tuple[str, ...], tuple[str, ...]]
    spending: Spending

    @property
    def metrics(self) -> int:
        """All metrics of the machine."""
        return sum(part.count for part in self.parts)


def count(
    configure: Configure,
    *,
    instance_type: str,
    stream: str | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Count:
    """Run the configuration on a machine of this type, or on the reports of a file.

    What the surroundings of a machine tell (its cluster, say) is taken as known.

    Raises:
        ConfigError: configuration, type or file cannot be used.
    """
    settings = {
        "cloudwatch.enabled": True,
        "prometheus.enabled": True,
        "prometheus.web_config_file": None,
        "cloudwatch.spool.path": None,
        "source.replay.at_end": "exit",
        "source.replay.speed": 0,
        **(overrides or {}),
    }
    flags = [Given("cost", key, value) for key, value in settings.items()]
    flags += [
        Given("--stream", "source.kind", "simulator" if stream is None else "file"),
        Given("--stream", "source.path", stream),
    ]
    rehearsal = _Rehearsal(configure(flags))
    rehearsal.run(instance_type, stream)
    return rehearsal.count()


def check_type(name: str) -> None:
    """Refuse a type that cannot be simulated.

    Raises:
        ConfigError: there is no such type, or not all of its figures are known.
    """
    if name not in INSTANCE_TYPES:
        known = suggest(name, INSTANCE_TYPES)
        raise ConfigError([f"--instance-type: unknown type; {known} (got {name!r})"])
    try:
        hardware(name)
    except ValueError as error:
        raise ConfigError([f"--instance-type: {error}"]) from None


class _Tally:
    """A transport that keeps what there was, and how often it was read."""

    def __init__(self, *, to_log: bool) -> None:
        self.readings: defaultdict[Dimensions, Counter[str]] = defaultdict(Counter)
        self.requests: Counter[float] = Counter()
        self.log_bytes: Counter[float] = Counter()
        self._to_log = to_log

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Count a request and the metrics in it."""
        stamp = datums[0]["Timestamp"].timestamp()
        self.requests[stamp] += 1
        if self._to_log:
            self.log_bytes[stamp] += sum(map(len, emf.documents(namespace, datums)))
        for datum in datums:
            dimensions = tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])
            number = sum(datum.get("Counts", [1.0] * len(datum.get("Values", [0]))))
            self.readings[dimensions][datum["MetricName"]] += number
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""


class _Rehearsal:
    """A pipeline whose reports come at the times that they would, in no time. Listens to a source
    in the intake's place."""

    def __init__(self, loaded: Loaded) -> None:
        config = loaded.config.cloudwatch
        self._tally = _Tally(to_log=config.transport == "emf")
        interval = config.flush_interval
        self._start = self._now = 1e9 - 1e9 % interval
        self._pipeline: Pipeline = build(
            loaded,
            environment={},
            connect=lambda _: self._tally,
            owners=_WORKLOAD if _holders(config) & {*_OF_ECS} else Owners(),
            clock=lambda: self._now,
        )
        self._pipeline.identity.learn(Step.ENVIRONMENT, _SURROUNDINGS)
        self._reports = 0

    @property
    def machine(self) -> Machine:
        """Who the machine is by what was read."""
        return self._pipeline.identity.machine()

    def run(self, instance_type: str, stream: str | None) -> None:
        """All reports, and the end of the last window."""
        if stream is None:
            self._simulate(instance_type)
        else:
            try:
                self._pipeline.source.run(self)
            except SourceError as error:
                raise ConfigError([f"--stream: {error}"]) from None
        self._exposed = self._exposition()
        interval = self._pipeline.config.cloudwatch.flush_interval
        self._now += 2 * interval + IDENTITY_PATIENCE
        self._step()

    def _simulate(self, instance_type: str) -> None:
        config = self._pipeline.config
        period = int(config.source.period)
        options = parse(["--instance-type", instance_type])._replace(
            kubernetes=bool(_holders(config.cloudwatch) - {*_OF_ECS})
            and not hardware(instance_type).generation.old_tools,
            periods=dict.fromkeys(self._pipeline.groups or Group, period),
            own_configuration=True,
        )
        simulated = SimulatedMachine(options)
        number = 0
        while (
            simulated.next_at is not None
            and simulated.next_at < max(_WINDOWS * config.cloudwatch.flush_interval, 2 * period)
            and number < _MOST_REPORTS
        ):
            self._now = self._start + simulated.next_at
            report = simulated.report(number)
            self._take(memoryview(json.dumps(report).encode()))
            number += 1

    def _take(self, line: memoryview) -> float | None:
        covers = self._pipeline.intake.line(line, Moment(self._now, self._now))
        self._reports += covers is not None
        self._step()
        return covers

    def _step(self) -> None:
        self._sink.step()

    def _exposition(self) -> list[bytes]:
        """The samples of a scrape, without their values."""
        if self._pipeline.prometheus is None:
            return []
        text = self._pipeline.prometheus.expose(self._now)
        return [line.rpartition(b" ")[0] for line in text.splitlines() if line and line[:1] != b"#"]

    # What a source tells.

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Take a line of a file at the time at which it was written."""
        covers = self._take(line)
        self._now += covers or 0.0
        return covers

    def skipped(self, length: int) -> None:
        """A line that is too long is no report."""

    def state(self, state: SourceState, detail: str) -> None:
        """A file has no states that matter here."""

    def restarting(self, reason: str, delay: float) -> None:
        """A file is not started again."""

    def stderr(self, line: str) -> None:
        """A file says nothing besides."""

    def tick(self) -> None:
        """Nobody waits for us."""

    # What came of it.

    def count(self) -> Count:
        """What was sent, by dimension set."""
        config = self._pipeline.config.cloudwatch
        elsewhere = {*config.extra_dimensions, *publish.holder(config)}
        named = {name for names in config.dimension_sets for name in names if name in FIELDS}
        known = {name: str(getattr(self.machine, FIELDS[name])) for name in named - elsewhere}
        lacking = {
            tuple(names): tuple(name for name in names if known.get(name) == "")
            for names in config.dimension_sets
        }
        grouped: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for dimensions, readings in self._tally.readings.items():
            grouped[tuple(name for name, _ in dimensions)].update(readings.keys())
        return Count(
            parts=tuple(
                Part(names, dict(metrics), self._is_shared(names))
                for names, metrics in grouped.items()
            ),
            interval=config.flush_interval,
            requests_a_window=max(self._tally.requests.values(), default=0),
            spots=self._spots(),
            otlp_series=len(self._exposed),
            # Name, labels, a stamp and a value of eight bytes each.
            otlp_bytes=sum(len(sample) + 16 for sample in self._exposed),
            log_bytes_a_window=max(self._tally.log_bytes.values(), default=0),
            assumed=tuple(name for name in FIELDS if known.get(name) == STAND_IN),
            dropped={names: lacks for names, lacks in lacking.items() if lacks},
            spending=self._sink.spending,
        )

    def _is_shared(self, names: tuple[str, ...]) -> bool:
        told_apart = ONE_MACHINE - self._pipeline.config.cloudwatch.extra_dimensions.keys()
        return told_apart.isdisjoint(names)

    @property
    def _sink(self) -> CloudWatchSink:
        assert self._pipeline.cloudwatch is not None  # noqa: S101 (it was switched on)
        return self._pipeline.cloudwatch

    def _spots(self) -> int:
        by_spot = {
            metric.name
            for row in self._sink.selection.rows
            for metric in row.cloudwatch
            if metric.pooling in _SPOTS
        }
        return sum(
            math.ceil(number / max(1, self._reports)) if name in by_spot else 1
            for readings in self._tally.readings.values()
            for name, number in readings.items()
        )


def _holders(config: CloudWatch) -> set[str]:
    """The dimensions that show who holds a core."""
    return {name for names in publish.by_holder(config) for name in names}
