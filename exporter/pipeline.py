"""From a configuration to the parts of a daemon, or to everything that is wrong with it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import log
from exporter.config import ConfigError, Loaded, suggest
from exporter.config.schema import Config
from exporter.identify import identify
from exporter.identity.finder import Finder
from exporter.identity.machine import Identity
from exporter.intake import Intake
from exporter.metrics import selection
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.collect import Collector
from exporter.metrics.counters import Counters
from exporter.metrics.period import Period
from exporter.model import Group, Layout, MetricSpec, Owners, Selection, SourceState
from exporter.sinks.cloudwatch import emf, plan
from exporter.sinks.cloudwatch.sink import CloudWatchSink, Settings
from exporter.sinks.cloudwatch.transport import Transport
from exporter.sinks.prometheus import PrometheusSink
from exporter.source import FileSource, NeuronMonitorSource, Source, StdinSource
from exporter.telemetry import Telemetry
from exporter.units import format_duration

if TYPE_CHECKING:
    from exporter.web.web_config import WebConfigFile

SIMULATOR = (sys.executable, "-m", "exporter.simulator")

NOT_BUILT_YET = (
    "cloudwatch.scope",
    "cloudwatch.budget",
    "cloudwatch.spool",
    "identity.kubernetes",
    "identity.pod_labels",
)
"""Keys that are accepted and do nothing so far."""

_NOBODYS = Owners()
"""Nobody asks yet whose cores are; the same object, so that what is made of it is made once."""

Connect = Callable[[str], Transport]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts, put together and not started. A sink that is off is None."""

    config: Config
    source: Source
    intake: Intake
    identity: Identity
    finder: Finder | None
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
    connect: Connect | None = None,
    clock: Callable[[], float] | None = None,
) -> Pipeline:
    """All parts of a daemon.

    Args:
        loaded: the configuration.
        environment: the process's environment variables.
        connect: opens CloudWatch's transport to a region; when it is not given, the configured one.
        clock: stands for both clocks of CloudWatch's sink where the time is not the real one.

    Raises:
        ConfigError: with every problem that the parts see.
    """
    config = loaded.config
    problems, chosen, web_config = _check(loaded)
    if problems:
        raise ConfigError(problems)

    telemetry = Telemetry(SourceState)
    log.on_drop(telemetry.log_lines_dropped.inc)
    if web_config is not None:
        web_config.on_reload = telemetry.web_config_good.set
    rows = _union(each.rows for each in chosen.values())
    identity, finder = identify(config, environment)
    period = Period(config.source.period if _has_period(config) else None)
    collector = Collector(
        rows,
        Counters(config.counters.ecc, config.counters.generic),
        period,
        tuple(config.prometheus.runtime_labels),
    )
    prometheus = PrometheusSink(chosen["prometheus"]) if "prometheus" in chosen else None
    cloudwatch = (
        _cloudwatch(config, chosen["cloudwatch"], identity, connect, telemetry, clock)
        if "cloudwatch" in chosen
        else None
    )
    sinks = [sink for sink in (prometheus, cloudwatch) if sink is not None]
    return Pipeline(
        config=config,
        source=_source(config, rows),
        intake=Intake(identity, collector, period, lambda: _NOBODYS, sinks, telemetry),
        identity=identity,
        finder=finder,
        prometheus=prometheus,
        cloudwatch=cloudwatch,
        web_config=web_config,
        telemetry=telemetry,
        rows=rows,
        warnings=tuple(_not_built_yet(loaded)),
    )


def problems_of(loaded: Loaded) -> list[str]:
    """What the parts would say against a configuration."""
    return _check(loaded)[0]


def _check(loaded: Loaded) -> tuple[list[str], dict[str, Selection], WebConfigFile | None]:
    """Every problem, and what had to be made to find them."""
    problems: list[str] = []
    chosen = _select(loaded, problems)
    _check_cloudwatch(loaded, chosen.get("cloudwatch"), problems)
    _check_source(loaded, problems)
    return problems, chosen, _web_config(loaded, problems)


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
    """The selection of every sink that is on."""
    config = loaded.config
    chosen = {}
    found: list[tuple[str, list[selection.Problem]]] = []
    if config.prometheus.enabled:
        wanted = config.prometheus
        chosen["prometheus"], wrong = selection.for_prometheus(
            wanted.preset, wanted.include, wanted.exclude, Layout(wanted.layout)
        )
        found.append(("prometheus", wrong))
    if config.cloudwatch.enabled:
        sent = config.cloudwatch
        chosen["cloudwatch"], wrong = selection.for_cloudwatch(
            sent.preset, sent.include, sent.exclude
        )
        found.append(("cloudwatch", wrong))
    for sink, wrong in found:
        problems += [
            loaded.problem(f"{sink}.{each.key}", each.message, each.given) for each in wrong
        ]
    return chosen


def _check_cloudwatch(loaded: Loaded, chosen: Selection | None, problems: list[str]) -> None:
    config = loaded.config.cloudwatch
    found = list(plan.check(config.namespace, config.dimension_sets, config.extra_dimensions))
    if chosen is not None and config.transport == "emf":
        found += emf.check(config.extra_dimensions, chosen.names)
    problems += [loaded.problem(wrong.key, wrong.message, wrong.given) for wrong in found]
    known = [*plan.FIELDS, *config.extra_dimensions]
    for at, names in enumerate(config.dimension_sets):
        for name in names:
            if name not in known:
                problems.append(
                    loaded.problem(
                        f"cloudwatch.dimension_sets.{at}",
                        f"unknown dimension; {suggest(name, known)}",
                        name,
                    )
                )
    if config.endpoint_url is not None and not config.endpoint_url.startswith(
        ("http://", "https://")
    ):
        wanted = "must begin with http:// or https://"
        problems.append(loaded.problem("cloudwatch.endpoint_url", wanted, config.endpoint_url))


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
    from exporter.web.web_config import WebConfigError, WebConfigFile

    try:
        return WebConfigFile(path)
    except WebConfigError as error:
        problems += [loaded.problem("prometheus.web_config_file", each) for each in error.problems]
        return None


def _not_built_yet(loaded: Loaded) -> Iterable[str]:
    """One line for each key that is set and does nothing yet."""
    for key in NOT_BUILT_YET:
        if loaded.is_set(key):
            yield loaded.problem(key, "has no effect yet")


def _has_period(config: Config) -> bool:
    """Whether reports come at a period that we ask for."""
    return config.source.kind in ("neuron-monitor", "simulator")


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


def _cloudwatch(
    config: Config,
    chosen: Selection,
    identity: Identity,
    connect: Connect | None,
    telemetry: Telemetry,
    clock: Callable[[], float] | None,
) -> CloudWatchSink:
    settings = config.cloudwatch

    def put_metric_data(region: str) -> Transport:
        # botocore is 20 MiB that only those pay who publish.
        from exporter.sinks.cloudwatch.api import Api

        return Api(region, settings.endpoint_url)

    to_output = settings.transport == "emf"
    return CloudWatchSink(
        chosen,
        Settings(
            namespace=settings.namespace,
            region=settings.region,
            interval=settings.flush_interval,
            dimension_sets=settings.dimension_sets,
            extra_dimensions=settings.extra_dimensions,
            spread=not to_output,
            needs_region=not to_output,
        ),
        identity.machine,
        connect or ((lambda _: emf.Emf()) if to_output else put_metric_data),
        telemetry,
        clock or time.time,
        clock or time.monotonic,
    )


def _groups(rows: Iterable[MetricSpec]) -> frozenset[Group]:
    return frozenset(group for row in rows for group in (row.group, *row.also) if group is not None)


def _union(selections: Iterable[tuple[MetricSpec, ...]]) -> tuple[MetricSpec, ...]:
    """Every row that some sink publishes, once, in the order of the catalogue."""
    wanted = {id(row) for rows in selections for row in rows}
    return tuple(row for row in CATALOGUE if id(row) in wanted)
