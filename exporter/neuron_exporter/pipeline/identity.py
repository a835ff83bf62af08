"""Build the machine's identity, and the resolver that looks up its missing fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from neuron_exporter.config.schema import Config
from neuron_exporter.identity import ecs_task, imds
from neuron_exporter.identity.local import driver_version, read_dmi, tools_version
from neuron_exporter.identity.machine import Identity, IdentitySource
from neuron_exporter.identity.resolver import IdentityProvider, IdentityResolver, RequiredFields
from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS, OWNER_DIMENSIONS

PROMETHEUS_FIELDS = frozenset({"instance_id", "instance_type", "availability_zone", "region"})
"""Fields that every series of Prometheus and OTLP should have as labels. Its other labels are
optional: an instance need not have a name or belong to an UltraServer."""


def make_identity(
    config: Config, environment: Mapping[str, str]
) -> tuple[Identity, IdentityResolver | None]:
    """Build the identity from what is known locally, and the resolver if one is needed."""
    identity = Identity(_configured(config), environment)
    if is_local_source(config):
        software = Machine(driver_version=driver_version(), tools_version=tools_version())
        identity.update(IdentitySource.DMI, software)
        identity.update(IdentitySource.DMI, read_dmi())
    return identity, make_identity_resolver(config, identity, environment)


def make_identity_resolver(
    config: Config, identity: Identity, environment: Mapping[str, str]
) -> IdentityResolver | None:
    """Build the resolver of missing fields; None if no provider can supply one."""
    if not is_local_source(config):
        return None
    providers = identity_providers(config, environment)
    resolver = IdentityResolver(identity, providers, required_fields(config))
    return resolver if resolver.is_needed else None


def identity_providers(config: Config, environment: Mapping[str, str]) -> list[IdentityProvider]:
    """Return the network services that configuration and environment allow to query."""
    known = (
        (config.identity.imds, IdentitySource.IMDS, imds),
        (config.identity.ecs, IdentitySource.ECS, ecs_task),
    )
    return [
        IdentityProvider(source, service.FIELDS, partial(service.lookup, endpoint))
        for is_enabled, source, service in known
        if is_enabled and (endpoint := service.endpoint(environment)) is not None
    ]


def required_fields(config: Config) -> RequiredFields:
    """Return the fields that the sinks use."""
    cloudwatch, otlp = config.cloudwatch, config.otlp
    labels = PROMETHEUS_FIELDS if config.prometheus.enabled or otlp.enabled else frozenset()
    if otlp.enabled and "{task_id}" in (otlp.spool.path or ""):
        labels |= {"task_id"}
    if not cloudwatch.enabled:
        return RequiredFields(labels=labels)
    if "{task_id}" in (cloudwatch.spool.path or ""):
        labels |= {"task_id"}
    region = set() if cloudwatch.region else {"region"}
    is_machine = cloudwatch.scope == "machine"
    owners = (*OWNER_DIMENSIONS, *config.identity.process_labels) if is_machine else ()
    other_dimensions = {*cloudwatch.extra_dimensions, *owners}
    return RequiredFields(
        labels=labels,
        dimension_sets=tuple(
            frozenset({MACHINE_DIMENSIONS[name] for name in {*names} - other_dimensions} | region)
            for names in cloudwatch.dimension_sets
        ),
    )


def is_local_source(config: Config) -> bool:
    """Return whether the reports describe this machine. Reports of a file or of the simulator
    describe another one, to which nothing that is looked up here applies."""
    return config.source.kind in ("neuron-monitor", "stdin")


def _configured(config: Config) -> Machine:
    names = ("instance_id", "instance_type", "region", "cluster", "auto_scaling_group")
    return Machine(**{name: getattr(config.identity, name) or "" for name in names})
