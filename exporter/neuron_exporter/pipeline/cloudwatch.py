"""Select the metrics for CloudWatch, check its section, and build its sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from neuron_exporter.config import LoadedConfig, suggest
from neuron_exporter.config.schema import CloudWatchConfig, Config
from neuron_exporter.config.values import check_url
from neuron_exporter.facts.prices import METRIC
from neuron_exporter.metrics import selection
from neuron_exporter.metrics.ecc_state import EccStateFile
from neuron_exporter.model import Machine, Selection
from neuron_exporter.pipeline.aws_hosts import is_aws_endpoint
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.pipeline.source import source_kind
from neuron_exporter.pipeline.spools import (
    Clocks,
    check_max_age,
    check_path,
    opener,
    placeholders,
)
from neuron_exporter.sinks.cloudwatch import dimensions, emf
from neuron_exporter.sinks.cloudwatch.budget import expected_items, protected_names
from neuron_exporter.sinks.cloudwatch.datums import ACCEPTED_AGES
from neuron_exporter.sinks.cloudwatch.dimensions import OWNER_DIMENSIONS, owner_dimensions_in
from neuron_exporter.sinks.cloudwatch.request import CODEC, PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.settings import NAME, SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.delivery.transport import Transport
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import shown_value
from neuron_exporter.validation import SettingProblem

Connect = Callable[[str], Transport[PutMetricDataRequest]]
"""Opens a transport to an AWS region."""

_TASK_DIMENSIONS = ("ServiceName", "TaskDefinitionFamily", "TaskId", "PodName")
"""Dimensions that distinguish the tasks of one machine; `scope: task` needs one of them."""

_EXAMPLE = "https://monitoring.us-east-1.amazonaws.com"

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL")
"""Variables from which botocore takes the endpoint if it is not configured."""


def select_for_cloudwatch(loaded: LoadedConfig) -> tuple[Selection, list[str]]:
    """Select the metrics for CloudWatch; return error lines as well."""
    config = loaded.config.cloudwatch
    selected, problems = selection.select_for_cloudwatch(
        config.preset,
        config.include,
        config.exclude,
        config.budget.keep,
        task_scope=config.scope == "task",
        per_owner=any(owner_dimensions_by_set(loaded.config)),
    )
    return selected, [
        loaded.problem(f"cloudwatch.{key}", message, value) for key, value, message in problems
    ]


def check_cloudwatch(loaded: LoadedConfig, selected: Selection | None) -> list[str]:
    """Return the errors of the section; `selected` is None if CloudWatch is off."""
    config = loaded.config.cloudwatch
    problems: list[SettingProblem] = [
        *dimensions.check(config.namespace, config.dimension_sets, config.extra_dimensions)
    ]
    if selected is not None and config.transport == "emf":
        labels = loaded.config.identity.process_labels
        problems += emf.check(config.extra_dimensions, selected.names, labels)
    problems += _check_dimension_sets(loaded.config)
    if selected is not None:
        problems += [
            *_check_budget(loaded.config, selected),
            *check_max_age(NAME, config.spool, "flush_interval", config.flush_interval),
        ]
    problems += check_path(NAME, config.spool)
    if config.endpoint_url is not None and (fault := _fault(config.endpoint_url)):
        problems.append(SettingProblem("cloudwatch.endpoint_url", config.endpoint_url, fault))
    return [loaded.problem(key, message, value) for key, value, message in problems]


def check_endpoint(loaded: LoadedConfig, environment: Mapping[str, str]) -> list[str]:
    """Return an error if the environment names no valid endpoint, or one that must not be used."""
    config = loaded.config.cloudwatch
    if config.enabled and config.transport == "api" and config.endpoint_url is None:
        name = _endpoint_variable(environment)
        if name is not None and (fault := _fault(environment[name])):
            return [f"{name}: {fault} (got {shown_value(environment[name])})"]
    return check_simulated(loaded, environment)


def check_simulated(loaded: LoadedConfig, environment: Mapping[str, str]) -> list[str]:
    """Return an error if simulated or replayed values would be sent to AWS. Nothing in CloudWatch
    would tell them from measured ones."""
    config, kind = loaded.config.cloudwatch, source_kind(loaded.config.source)
    if (
        kind not in ("simulator", "file")
        or not config.enabled
        or config.transport == "emf"
        or config.allow_simulated
    ):
        return []
    name = _endpoint_variable(environment)
    url = config.endpoint_url or (None if name is None else environment[name])
    if url is not None and not is_aws_endpoint(url):
        return []
    message = (
        f'"{kind}" does not measure this machine, and its values would be sent to CloudWatch: set '
        "cloudwatch.allow_simulated, or cloudwatch.endpoint_url to a server that is not AWS's"
    )
    return [loaded.problem("source.kind", message)]


def _endpoint_variable(environment: Mapping[str, str]) -> str | None:
    """Return the variable whose endpoint botocore uses, None if it uses none."""
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return next(filter(environment.get, _ENDPOINT_VARIABLES), None)


def _fault(url: str) -> str:
    """Return why a URL cannot be an endpoint; empty if it can."""
    try:
        scheme, separator, rest = url.partition("://")
        check_url(f"{scheme.lower()}{separator}{rest}", _EXAMPLE)
    except ValueError as error:
        return str(error)
    return ""


def make_cloudwatch_sink(
    configuration: Config,
    selected: Selection,
    identity: Callable[[], Machine],
    connect: Connect | None,
    telemetry: Telemetry,
    clock: Callable[[], float] | None,
) -> CloudWatchSink:
    """Build the sink. `connect` replaces the configured transport, `clock` both clocks."""
    config = configuration.cloudwatch
    is_emf = config.transport == "emf"
    settings = sink_settings(configuration)
    wall, monotonic = clock or time.time, clock or time.monotonic

    def open_transport(region: str) -> Transport[PutMetricDataRequest]:
        if is_emf:
            return emf.EmfTransport()
        # Imported by the first request: botocore costs 20 MiB of memory.
        from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport

        return PutMetricDataTransport(region, config.endpoint_url)

    open_spool = opener(
        NAME,
        config.spool,
        ACCEPTED_AGES,
        CODEC,
        lambda machine: (config.namespace, config.region or machine.region),
        Clocks(wall, monotonic),
        in_memory=is_emf,  # another process has another standard output
    )
    connect = connect or open_transport
    return CloudWatchSink(
        selected, settings, identity, connect, telemetry, open_spool, wall, monotonic
    )


def make_ecc_store(config: Config) -> EccStateFile | None:
    """Build the store of the ECC counters, beside the spool; None if that is in memory.

    A task gets none: the next task has another spool, and maybe other devices. Simulated counters
    get none either: the next exporter may read the machine's.
    """
    template = config.cloudwatch.spool.path or ""
    is_of_task = config.cloudwatch.scope == "task" or "{" in template
    is_measured = is_local_source(config) and source_kind(config.source) != "simulator"
    if not template or is_of_task or not is_measured:
        return None
    return EccStateFile(Path(f"{template}.ecc"))


def sink_settings(configuration: Config) -> SinkSettings:
    """Return the sink's settings."""
    config = configuration.cloudwatch
    is_emf = config.transport == "emf"
    return SinkSettings(
        namespace=config.namespace,
        region=config.region,
        interval=config.flush_interval,
        dimension_sets=config.dimension_sets,
        extra_dimensions=config.extra_dimensions,
        owner_dimensions=owner_dimensions(configuration),
        metric_limit=metric_limit(config),
        keep=config.budget.keep,
        spool_names=placeholders(config.spool),
        spread=not is_emf,
        needs_region=not is_emf,
    )


def metric_limit(config: CloudWatchConfig) -> int | None:
    """Return how many metrics the budget allows, at the price of the first tier; None for any."""
    budget = config.budget
    limits = [] if budget.max_metrics is None else [budget.max_metrics]
    if budget.max_monthly_usd is not None:
        # The addend corrects rounding: 3.00 / 0.30 is slightly less than 10.
        limits.append(int((budget.max_monthly_usd + 1e-5) / METRIC.tiers[0].usd))
    return min(limits, default=None)


def owner_dimensions(configuration: Config) -> Collection[str]:
    """Return the dimensions that identify the owner of a core. There are none with `scope: task`,
    where the task owns all published cores."""
    if configuration.cloudwatch.scope == "task":
        return ()
    return (*OWNER_DIMENSIONS, *configuration.identity.process_labels)


def owner_dimensions_by_set(configuration: Config) -> Iterable[tuple[str, ...]]:
    """Yield the owner dimensions of each dimension set."""
    config, of_owner = configuration.cloudwatch, owner_dimensions(configuration)
    for names in config.dimension_sets:
        yield owner_dimensions_in(names, of_owner, config.extra_dimensions)


def _check_dimension_sets(configuration: Config) -> Iterator[SettingProblem]:
    config, of_owner = configuration.cloudwatch, owner_dimensions(configuration)
    known = (*dimensions.MACHINE_DIMENSIONS, *of_owner, *config.extra_dimensions)
    allowed = list(dict.fromkeys(known))
    for index, names in enumerate(config.dimension_sets):
        for name in names:
            if name in allowed:
                continue
            message = f"unknown dimension; {suggest(name, allowed)}"
            if name in (*OWNER_DIMENSIONS, *configuration.identity.process_labels):
                message = "is not available with scope task: use PodName or TaskId"
            yield SettingProblem(f"cloudwatch.dimension_sets.{index}", name, message)
    used = {name for names in config.dimension_sets for name in names}
    if config.scope == "task" and used.isdisjoint(_TASK_DIMENSIONS):
        yield SettingProblem(
            "cloudwatch.dimension_sets",
            config.dimension_sets,
            "with scope task, one set must distinguish the tasks of a machine, such as "
            "[ServiceName] or [ClusterName, TaskDefinitionFamily]",
        )


def _check_budget(configuration: Config, selected: Selection) -> Iterator[SettingProblem]:
    """Reject a budget smaller than the metrics that are always published."""
    config = configuration.cloudwatch
    limit = metric_limit(config)
    if limit is None:
        return
    budget = config.budget
    by_price = budget.max_metrics is None or limit < budget.max_metrics
    key = f"cloudwatch.budget.{'max_monthly_usd' if by_price else 'max_metrics'}"
    value = budget.max_monthly_usd if by_price else budget.max_metrics
    if limit < 1:
        price = f"{METRIC.tiers[0].usd:.2f} USD"
        message = f"is less than the price of one metric ({price} a month)"
        yield SettingProblem(key, value, message)
        return
    protected = sorted(protected_names(selected, budget.keep))
    items = expected_items(sink_settings(configuration), selected)
    count = sum(name in protected for _, name in items)
    if limit < count:
        yield SettingProblem(
            key,
            value,
            f"is less than the {count} metrics that are never dropped: "
            f"{', '.join(protected)} in {len(config.dimension_sets)} dimension set(s)",
        )
