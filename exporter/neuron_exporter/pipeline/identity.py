"""From a configuration to who the machine is, and to who finds out what is not known of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from neuron_exporter.config.schema import Config
from neuron_exporter.identity import dmi, imds
from neuron_exporter.identity import ecs_task as ecs
from neuron_exporter.identity.machine import Identity, Step
from neuron_exporter.identity.resolver import Finder, Source, Wants
from neuron_exporter.identity.software import driver_version, tools_version
from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS, HOLDER

LABELLED = frozenset({"instance_id", "instance_type", "availability_zone", "region"})
"""Fields that every series of Prometheus should have as labels. The others of its labels may be
missing by right: an instance need not have a name, nor be part of an UltraServer."""


def identify(config: Config, environment: Mapping[str, str]) -> tuple[Identity, Finder | None]:
    """What is known already, and who asks for the rest, where somebody could tell it."""
    identity = Identity(_configured(config), environment)
    if is_of_this_machine(config):
        software = Machine(driver_version=driver_version(), tools_version=tools_version())
        identity.learn(Step.DMI, software)
        identity.learn(Step.DMI, dmi.read())
    return identity, make_finder(config, identity, environment)


def make_finder(
    config: Config, identity: Identity, environment: Mapping[str, str]
) -> Finder | None:
    """Who asks for what the sinks lack; None where they lack nothing that somebody could tell."""
    if not is_of_this_machine(config):
        return None
    finder = Finder(identity, places(config, environment), wants(config))
    return finder if finder.is_needed else None


def places(config: Config, environment: Mapping[str, str]) -> list[Source]:
    """Who could be asked over the network, as configuration and environment allow."""
    known = (
        (config.identity.imds, Step.IMDS, imds.endpoint(environment), imds.GIVES, imds.find),
        (config.identity.ecs, Step.ECS, ecs.endpoint(environment), ecs.GIVES, ecs.find),
    )
    return [
        Source(step, gives, partial(find, base))
        for wanted, step, base, gives, find in known
        if wanted and base is not None
    ]


def is_of_this_machine(config: Config) -> bool:
    """Whether reports are: of those of another machine, what this one says would be wrong."""
    return config.source.kind in ("neuron-monitor", "stdin")


def _configured(config: Config) -> Machine:
    known = config.identity
    return Machine(
        instance_id=known.instance_id or "",
        instance_type=known.instance_type or "",
        region=known.region or "",
        cluster=known.cluster or "",
        auto_scaling_group=known.auto_scaling_group or "",
    )


def wants(config: Config) -> Wants:
    """The fields that the sinks ask for."""
    sent = config.cloudwatch
    where = set() if sent.region else {"region"}
    elsewhere = {*sent.extra_dimensions, *(HOLDER if sent.scope == "machine" else ())}
    named = [{*names} - elsewhere for names in sent.dimension_sets]
    labels = LABELLED if config.prometheus.enabled else frozenset()
    path = sent.spool.path or ""
    return Wants(
        labels=labels | {"task_id"} if sent.enabled and "{task_id}" in path else labels,
        sets=tuple(frozenset({FIELDS[name] for name in names} | where) for names in named)
        if sent.enabled
        else (),
    )
