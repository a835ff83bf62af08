"""Check the identity: which provider returned each required field, or why none did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from neuron_exporter.config.schema import IdentityConfig
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.identity import ecs_task as ecs
from neuron_exporter.identity import imds
from neuron_exporter.identity.local import ENVIRONMENT_VARIABLES
from neuron_exporter.identity.machine import STREAM_KEYS, Identity, IdentitySource
from neuron_exporter.model import Machine
from neuron_exporter.pipeline.identity import identity_providers, is_local_source, required_fields

SUBJECT = Subject("identity")

_NAMES: Mapping[IdentitySource, str] = {
    IdentitySource.CONFIGURATION: "the configuration",
    IdentitySource.STREAM: "neuron-monitor's report",
    IdentitySource.DMI: "DMI",
    IdentitySource.IMDS: "EC2 instance metadata",
    IdentitySource.ECS: "ECS task metadata",
    IdentitySource.ENVIRONMENT: "the environment",
}

_TIMEOUT = "no answer within"
_IN_DMI = frozenset({"instance_id", "instance_type"})
_CONFIGURATION_KEYS = IdentityConfig.model_fields.keys() & {each.name for each in fields(Machine)}


def check(context: Context) -> Iterator[Finding]:
    """Look up the missing fields as the exporter does, and report where each field comes from."""
    identity = context.identity
    if identity is None:
        return
    required = required_fields(context.config)
    names = sorted(required.labels.union(*required.dimension_sets))
    if not is_local_source(context.config):
        kind = context.config.source.kind
        yield SUBJECT.skipped(f"source.kind {kind} reports on another machine")
        return
    errors = _look_up(context, identity, names)
    machine = context.machine
    missing = []
    for name in names:
        source = identity.source_of(name)
        value = getattr(machine, name)
        if not value:
            missing.append(name)
        else:
            known_by = "the running exporter" if source is None else _NAMES[source]
            yield SUBJECT.ok(f"{name} is {value} ({known_by})")
    for source, error in errors.items():
        if error and missing:
            yield SUBJECT.warning(f"{_NAMES[source]}: {error}", _fix(source, error))
    for name in missing:
        is_label = not any(name in fields for fields in required.dimension_sets)
        yield _missing(context, name, errors, is_label=is_label)


def _look_up(context: Context, identity: Identity, names: list[str]) -> dict[IdentitySource, str]:
    """Query the providers that may know missing fields. Return the error of each one queried;
    empty if it answered."""
    errors = {}
    for provider in identity_providers(context.config, context.environment):
        machine = context.machine
        missing = provider.fields & {name for name in names if not getattr(machine, name)}
        if missing:
            found, errors[provider.source] = provider.lookup(missing)
            identity.update(provider.source, found)
    return errors


def _fix(source: IdentitySource, error: str) -> str:
    if source is IdentitySource.IMDS and _TIMEOUT in error:
        return (
            "a container without host networking needs a hop limit of 2: `aws ec2 "
            "modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2` "
            "(Karpenter: metadataOptions.httpPutResponseHopLimit); or set identity.*"
        )
    if source is IdentitySource.IMDS and "403" in error:
        return "instance metadata is disabled: set HttpEndpoint=enabled, or set identity.*"
    if source is IdentitySource.IMDS and "tags" in error:
        return "allow tags in instance metadata (InstanceMetadataTags=enabled), or set identity.*"
    if source is IdentitySource.ECS:
        return "task metadata needs ECS agent 1.39 or newer, and the exporter in one of its tasks"
    return "set identity.* in the configuration"


def _missing(
    context: Context, name: str, errors: Mapping[IdentitySource, str], *, is_label: bool
) -> Finding:
    tried = []
    if name in STREAM_KEYS:
        has_report = context.report is not None or context.scraped is not None
        answer = "does not have it" if has_report else "none was read"
        tried.append(f"{_NAMES[IdentitySource.STREAM]}: {answer}")
    if name in _IN_DMI:
        tried.append(f"{_NAMES[IdentitySource.DMI]}: not Amazon EC2, or not readable")
    for source, known in ((IdentitySource.IMDS, imds.FIELDS), (IdentitySource.ECS, ecs.FIELDS)):
        if name in known:
            tried.append(f"{_NAMES[source]}: {_lookup_result(context, source, errors)}")
    variables = ENVIRONMENT_VARIABLES.get(name, ())
    if variables:
        tried.append(f"{_NAMES[IdentitySource.ENVIRONMENT]}: no {' or '.join(variables)}")
    if name in _CONFIGURATION_KEYS:
        fix = f"set identity.{name}, or make one of these providers available"
    elif variables:
        fix = f"set {variables[0]}, in Kubernetes through the downward API"
    elif is_label:
        fix = "only a label needs it: make one of these providers available, or ignore this"
    else:
        fix = "remove it from cloudwatch.dimension_sets, or set it in cloudwatch.extra_dimensions"
    return SUBJECT.warning(f"{name} is unknown ({'; '.join(tried)})", fix)


def _lookup_result(
    context: Context, source: IdentitySource, errors: Mapping[IdentitySource, str]
) -> str:
    if source in errors:
        return errors[source] or "does not have it"
    if source is IdentitySource.IMDS:
        is_off = not context.config.identity.imds
        return "identity.imds is false" if is_off else "disabled by AWS_EC2_METADATA_DISABLED"
    return "identity.ecs is false" if not context.config.identity.ecs else "not in an ECS task"
