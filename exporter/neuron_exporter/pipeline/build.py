"""From a configuration to the parts of a daemon, or to everything that is wrong with it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_exporter import log
from neuron_exporter.config import ConfigError, Loaded
from neuron_exporter.config.schema import Config
from neuron_exporter.identity.devices import devices
from neuron_exporter.identity.machine import Identity
from neuron_exporter.identity.owners.resolver import OwnersFinder
from neuron_exporter.identity.resolver import Finder
from neuron_exporter.metrics import selection
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.metrics.task_scope import Task
from neuron_exporter.model import Group, Layout, MetricSpec, Owners, Selection, SourceState
from neuron_exporter.pipeline import cloudwatch as publish
from neuron_exporter.pipeline import owners as ownership
from neuron_exporter.pipeline.identity import identify, is_of_this_machine
from neuron_exporter.pipeline.processor import Intake, Lane
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.source import FileSource, NeuronMonitorSource, Source, StdinSource
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.units import format_duration

if TYPE_CHECKING:
    from neuron_exporter.web.config_file import WebConfigFile

SIMULATOR = (sys.executable, "-m", "neuron_exporter.simulator")

_NOBODYS = Owners()
"""Where nobody is asked; the same object, so that what is made of it is made once."""


@dataclass(slots=True)
class Pipeline:
    """The parts, put together and not started. A sink that is off is None.

    What `reconfigure` replaces, each a reference, is `config`, `finder`, `web_config` and `rows`.
    """

    config: Config
    source: Source
    intake: Intake
    identity: Identity
    finder: Finder | None
    owners: OwnersFinder | None
    prometheus: PrometheusSink | None
    cloudwatch: CloudWatchSink | None
    web_config: WebConfigFile | None
    telemetry: Telemetry
    rows: tuple[MetricSpec, ...]
    warnings: tuple[str, ...]

    @property
    def groups(self) -> frozenset[Group]:
        """The groups of neuron-monitor that are wanted."""
        return _groups(self.rows)


def build(
    loaded: Loaded,
    *,
    environment: Mapping[str, str] = os.environ,
    connect: publish.Connect | None = None,
    owners: Owners = _NOBODYS,
    clock: Callable[[], float] | None = None,
) -> Pipeline:
    """All parts of a daemon.

    Args:
        loaded: the configuration.
        environment: the process's environment variables.
        connect: opens CloudWatch's transport to a region; when it is not given, the configured one.
        owners: whose cores are, where nobody is asked.
        clock: stands for both clocks of CloudWatch's sink where the time is not the real one.

    Raises:
        ConfigError: with every problem that the parts see.
    """
    config = loaded.config
    chosen, web_config = choose(loaded)

    telemetry = Telemetry(SourceState)
    log.on_drop(telemetry.log_lines_dropped.inc)
    if web_config is not None:
        web_config.on_reload = telemetry.web_config_good.set
    identity, finder = identify(config, environment)
    owners_finder = ownership.make_owners_finder(config, environment)
    prometheus = PrometheusSink(chosen["prometheus"]) if "prometheus" in chosen else None
    cloudwatch = (
        publish.make_sink(
            config.cloudwatch, chosen["cloudwatch"], identity.machine, connect, telemetry, clock
        )
        if "cloudwatch" in chosen
        else None
    )
    period = _period(config)
    rows = rows_of(chosen)
    lanes = _lanes(config, period, chosen, prometheus, cloudwatch)
    return Pipeline(
        config=config,
        source=_source(config, rows),
        intake=Intake(
            identity,
            lanes,
            period,
            owners_finder.owners if owners_finder else lambda: owners,
            telemetry,
            *([owners_finder.see] if owners_finder else []),
        ),
        identity=identity,
        finder=finder,
        owners=owners_finder,
        prometheus=prometheus,
        cloudwatch=cloudwatch,
        web_config=web_config,
        telemetry=telemetry,
        rows=rows,
        warnings=tuple(ownership.warnings(loaded, environment)),
    )


def all_problems(error: ConfigError) -> list[str]:
    """What is wrong with a configuration, with what the parts say against the rest of it."""
    problems = list(error.problems)
    if error.rest is not None:
        try:
            choose(error.rest)
        except ConfigError as more:
            problems += more.problems
    return problems


def choose(
    loaded: Loaded, *, web: bool = True
) -> tuple[dict[str, Selection], WebConfigFile | None]:
    """The selection of every sink that is on, and the `web` configuration if there is one and it
    is asked for.

    Raises:
        ConfigError: with every problem that the parts see.
    """
    problems: list[str] = []
    chosen = _select(loaded, problems)
    problems += publish.check(loaded, chosen.get("cloudwatch"))
    _check_source(loaded, problems)
    problems += ownership.check(loaded)
    web_config = _web_config(loaded, problems) if web else None
    if problems:
        raise ConfigError(problems)
    return chosen, web_config


def make_source(loaded: Loaded, rows: Iterable[MetricSpec]) -> Source:
    """The source alone, asking neuron-monitor for what the rows need.

    Raises:
        ConfigError: the source's settings cannot be used.
    """
    problems: list[str] = []
    _check_source(loaded, problems)
    if problems:
        raise ConfigError(problems)
    return _source(loaded.config, rows)


def summary(pipeline: Pipeline) -> Iterable[str]:
    """What a pipeline will do, for people."""
    config = pipeline.config
    groups = ", ".join(sorted(pipeline.groups))
    yield f"source: {config.source.kind}, every {format_duration(config.source.period)}: {groups}"
    if pipeline.prometheus is not None:
        rows = len(pipeline.prometheus.selection.rows)
        places = ", ".join(f"{address}/metrics" for address in config.prometheus.listen)
        yield f"prometheus: {rows} metrics at {places}"
    if pipeline.web_config is not None:
        access = pipeline.web_config.access()
        on = [
            what
            for what, there in (("TLS", access.tls), ("passwords", access.passwords))
            if there is not None
        ]
        yield f"web: {' and '.join(on) or 'neither TLS nor passwords'}"
    if pipeline.cloudwatch is not None:
        names = ", ".join(sorted(pipeline.cloudwatch.selection.names))
        sets = len(config.cloudwatch.dimension_sets)
        every = format_duration(config.cloudwatch.flush_interval)
        where = " to standard output" if config.cloudwatch.transport == "emf" else ""
        yield f"cloudwatch: every {every}{where}, in {sets} dimension set(s): {names}"


def _select(loaded: Loaded, problems: list[str]) -> dict[str, Selection]:
    """The selections, in the order of the lanes."""
    config = loaded.config
    chosen = {}
    if config.prometheus.enabled:
        wanted = config.prometheus
        chosen["prometheus"], wrong = selection.for_prometheus(
            wanted.preset, wanted.include, wanted.exclude, Layout(wanted.layout)
        )
        problems += [
            loaded.problem(f"prometheus.{each.key}", each.message, each.given) for each in wrong
        ]
    if config.cloudwatch.enabled:
        chosen["cloudwatch"], unusable = publish.select(loaded)
        problems += unusable
    return chosen


def _check_source(loaded: Loaded, problems: list[str]) -> None:
    config = loaded.config.source
    if config.kind == "file":
        if not config.path:
            problems.append(loaded.problem("source.path", "a file source needs the file's path"))
        elif not Path(config.path).is_file():
            problems.append(loaded.problem("source.path", "is not a file", config.path))
        elif not os.access(config.path, os.R_OK):
            problems.append(loaded.problem("source.path", "cannot be read", config.path))
    elif config.path is not None:
        problems.append(
            loaded.problem(
                "source.path", f'is only for source.kind "file", not "{config.kind}"', config.path
            )
        )
    if config.kind == "neuron-monitor" and len(config.command) == 1 and " " in config.command[0]:
        words = ", ".join(shlex.split(config.command[0], posix=False))
        problems.append(
            loaded.problem(
                "source.command", f"is a list of words, as in [{words}]", config.command[0]
            )
        )


def _web_config(loaded: Loaded, problems: list[str]) -> WebConfigFile | None:
    """The web configuration, if there is one."""
    path = loaded.config.prometheus.web_config_file
    if path is None:
        return None
    # OpenSSL's contexts and bcrypt are for those who ask for them.
    from neuron_exporter.web.config_file import WebConfigError, WebConfigFile

    try:
        return WebConfigFile(path)
    except WebConfigError as error:
        problems += [loaded.problem("prometheus.web_config_file", each) for each in error.problems]
        return None


def _lanes(
    config: Config,
    period: Period,
    chosen: Mapping[str, Selection],
    prometheus: PrometheusSink | None,
    cloudwatch: CloudWatchSink | None,
) -> list[Lane]:
    """One way for all sinks; but what is sent of a task is another thing than the machine."""
    rows_of_each = rows_by_lane(config, chosen)
    rows = rows_of_each[0]
    sinks = [sink for sink in (prometheus, cloudwatch) if sink is not None]
    if cloudwatch is None or config.cloudwatch.scope == "machine":
        return [Lane(_collector(config, rows, period), sinks)]
    task = Task(devices) if is_of_this_machine(config) else None
    if prometheus is None:
        return [Lane(_collector(config, rows, period, task), [cloudwatch])]
    return [
        Lane(_collector(config, rows, period), [prometheus]),
        Lane(_collector(config, rows_of_each[1], _period(config), task), [cloudwatch]),
    ]


def rows_by_lane(config: Config, chosen: Mapping[str, Selection]) -> list[tuple[MetricSpec, ...]]:
    """What each lane collects."""
    if config.cloudwatch.enabled and config.cloudwatch.scope == "task":
        return [selection.rows for selection in chosen.values()]
    return [rows_of(chosen)]


def _collector(
    config: Config, rows: Iterable[MetricSpec], period: Period, task: Task | None = None
) -> Collector:
    counters = Counters(config.counters.ecc, config.counters.generic)
    return Collector(rows, counters, period, tuple(config.prometheus.runtime_labels), task)


def _period(config: Config) -> Period:
    """The period of reports: the one that we ask for, where we do."""
    asks = config.source.kind in ("neuron-monitor", "simulator")
    return Period(config.source.period if asks else None)


def _source(config: Config, rows: Iterable[MetricSpec]) -> Source:
    source = config.source
    match source.kind:
        case "stdin":
            return StdinSource(source.max_line)
        case "file":
            assert source.path is not None  # noqa: S101 (checked before)
            return FileSource(
                source.path,
                source.max_line,
                source.replay.speed,
                repeat=source.replay.at_end == "repeat",
            )
        case _:
            command = SIMULATOR if source.kind == "simulator" else source.command
            return NeuronMonitorSource(command, _groups(rows), source.period, source.max_line)


def _groups(rows: Iterable[MetricSpec]) -> frozenset[Group]:
    return frozenset(group for row in rows for group in (row.group, *row.also) if group is not None)


def rows_of(chosen: Mapping[str, Selection]) -> tuple[MetricSpec, ...]:
    """Every row that some sink publishes, once, in the order of the catalogue."""
    wanted = {id(row) for selection in chosen.values() for row in selection.rows}
    return tuple(row for row in CATALOGUE if id(row) in wanted)
