"""From a configuration to CloudWatch's sink, or to everything that is wrong with its section."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from neuron_exporter.config import Loaded, suggest
from neuron_exporter.config.schema import CloudWatch
from neuron_exporter.facts.prices import METRIC
from neuron_exporter.metrics import selection
from neuron_exporter.model import Machine, Selection
from neuron_exporter.sinks.cloudwatch import dimensions, emf
from neuron_exporter.sinks.cloudwatch.budget import kept
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS, HOLDER, Problem, of_holder
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink, Dropped
from neuron_exporter.sinks.cloudwatch.transport import Transport
from neuron_exporter.sinks.delivery.spool import paths as path
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.units import format_duration

Connect = Callable[[str], Transport]

_OF_A_TASK = ("ServiceName", "TaskDefinitionFamily", "TaskId", "PodName")
"""Dimensions of which a set for one task of a machine needs one."""

_ATTEMPTS_SECONDS = 60.0

_NO_HOLDER: Mapping[str, str] = {}


def select(loaded: Loaded) -> tuple[Selection, list[str]]:
    """What is chosen for CloudWatch, and what is wrong with the choice."""
    config = loaded.config.cloudwatch
    chosen, wrong = selection.for_cloudwatch(
        config.preset,
        config.include,
        config.exclude,
        config.budget.keep,
        of_task=config.scope == "task",
        per_owner=any(by_holder(config)),
    )
    return chosen, [_line(loaded, Problem(each.key, each.given, each.message)) for each in wrong]


def check(loaded: Loaded, chosen: Selection | None) -> list[str]:
    """Everything that cannot be used of CloudWatch's section; `chosen` is None where it is off."""
    config = loaded.config.cloudwatch
    problems = [
        loaded.problem(wrong.key, wrong.message, wrong.given)
        for wrong in dimensions.check(
            config.namespace, config.dimension_sets, config.extra_dimensions
        )
    ]
    if chosen is not None and config.transport == "emf":
        problems += [
            loaded.problem(wrong.key, wrong.message, wrong.given)
            for wrong in emf.check(config.extra_dimensions, chosen.names)
        ]
    problems += [_line(loaded, wrong) for wrong in _sets(config)]
    if chosen is not None:
        problems += [_line(loaded, wrong) for wrong in _budget(config, chosen)]
        problems += [_line(loaded, wrong) for wrong in _age(config)]
    if config.spool.path is not None and (wrong := path.problem(config.spool.path)):
        problems.append(loaded.problem("cloudwatch.spool.path", wrong))
    if config.endpoint_url is not None and not config.endpoint_url.startswith(
        ("http://", "https://")
    ):
        wanted = "must begin with http:// or https://"
        problems.append(loaded.problem("cloudwatch.endpoint_url", wanted, config.endpoint_url))
    return problems


def make_sink(
    config: CloudWatch,
    chosen: Selection,
    identity: Callable[[], Machine],
    connect: Connect | None,
    telemetry: Telemetry,
    clock: Callable[[], float] | None,
) -> CloudWatchSink:
    """The sink. `connect` stands for the configured transport, `clock` for both clocks."""

    def put_metric_data(region: str) -> Transport:
        # botocore is 20 MiB that only those pay who publish.
        from neuron_exporter.sinks.cloudwatch.put_metric_data import Api

        return Api(region, config.endpoint_url)

    def open_spool(machine: Machine, dropped: Dropped) -> Spool:
        # What waits for standard output's reader is of no use to another process.
        template = "" if to_output else config.spool.path or ""
        known = {"task_id": machine.task_id, "pod_uid": machine.pod_uid}
        return Spool(
            path.expand(template, known) if template else None,
            config.spool.max_bytes,
            config.spool.max_age,
            dropped,
            template=template,
            clock=clock or time.time,
            monotonic=clock or time.monotonic,
        )

    to_output = config.transport == "emf"
    transport = (lambda _: emf.Emf()) if to_output else put_metric_data
    return CloudWatchSink(
        chosen,
        settings(config),
        identity,
        connect or transport,
        telemetry,
        open_spool,
        clock or time.time,
        clock or time.monotonic,
    )


def settings(config: CloudWatch) -> Settings:
    """What the sink is told of its section."""
    to_output = config.transport == "emf"
    return Settings(
        namespace=config.namespace,
        region=config.region,
        interval=config.flush_interval,
        dimension_sets=config.dimension_sets,
        extra_dimensions=config.extra_dimensions,
        holder=holder(config),
        limit=limit(config),
        keep=config.budget.keep,
        spool_names=[n for n in path.PLACEHOLDERS if f"{{{n}}}" in (config.spool.path or "")],
        spread=not to_output,
        needs_region=not to_output,
    )


def limit(config: CloudWatch) -> int | None:
    """How many metrics a machine may publish, each at the price of the first tier."""
    budget = config.budget
    limits = [] if budget.max_metrics is None else [budget.max_metrics]
    if budget.max_monthly_usd is not None:
        # A thousandth of a cent is for 3.00 / 0.30, which is not 10 to the last bit.
        limits.append(int((budget.max_monthly_usd + 1e-5) / METRIC.tiers[0].usd))
    return min(limits, default=None)


def holder(config: CloudWatch) -> Mapping[str, str]:
    """Which dimensions show who holds a core. All cores of a task are its own."""
    return HOLDER if config.scope == "machine" else _NO_HOLDER


def by_holder(config: CloudWatch) -> Iterable[tuple[str, ...]]:
    """The dimensions of each set that are the holder's."""
    for names in config.dimension_sets:
        yield of_holder(names, holder(config), config.extra_dimensions)


def _sets(config: CloudWatch) -> Iterable[Problem]:
    """What is wrong with names of dimensions, and with the sets for a task."""
    known = [*dict.fromkeys((*FIELDS, *holder(config), *config.extra_dimensions))]
    for at, names in enumerate(config.dimension_sets):
        for name in names:
            if name in known:
                continue
            message = f"unknown dimension; {suggest(name, known)}"
            if name in HOLDER:
                message = "is not known of our own task: with scope task, use PodName or TaskId"
            yield Problem(f"dimension_sets.{at}", name, message)
    if config.scope == "task" and not any(
        name in names for names in config.dimension_sets for name in _OF_A_TASK
    ):
        yield Problem(
            "dimension_sets",
            config.dimension_sets,
            "with scope task, one set has to tell tasks of a machine apart, as [ServiceName] or "
            "[ClusterName, TaskDefinitionFamily] do",
        )


def _budget(config: CloudWatch, chosen: Selection) -> Iterable[Problem]:
    """A budget that what is never dropped does not fit in."""
    number = limit(config)
    if number is None:
        return
    budget = config.budget
    by_price = budget.max_metrics is None or number < budget.max_metrics
    key = "budget.max_monthly_usd" if by_price else "budget.max_metrics"
    given = budget.max_monthly_usd if by_price else budget.max_metrics
    if number < 1:
        yield Problem(
            key, given, f"affords no metric: one is {METRIC.tiers[0].usd:.2f} USD a month"
        )
        return
    beats = kept(chosen, ())
    always = sorted(kept(chosen, budget.keep))
    # Of a holder's set it is known that one holder has all but the heartbeat.
    number_of = [len(always) - (bool(names) and bool(beats)) for names in by_holder(config)]
    if number < sum(number_of):
        yield Problem(
            key,
            given,
            f"is less than the {sum(number_of)} metrics that are never dropped: "
            f"{', '.join(always)} in {len(number_of)} dimension set(s)",
        )


def _age(config: CloudWatch) -> Iterable[Problem]:
    """An age that requests have before they were tried. Their stamp is their window's start: one is
    sent up to two intervals later, and each attempt takes seconds."""
    least = 2 * config.flush_interval + _ATTEMPTS_SECONDS
    if config.spool.max_age < least:
        yield Problem(
            "spool.max_age",
            format_duration(config.spool.max_age),
            f"must be at least {format_duration(least)}, which is twice "
            f"cloudwatch.flush_interval ({format_duration(config.flush_interval)}) and a minute",
        )


def _line(loaded: Loaded, wrong: Problem) -> str:
    return loaded.problem(f"cloudwatch.{wrong.key}", wrong.message, wrong.given)
