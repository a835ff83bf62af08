"""Who the machine is: which place told each field that is needed, or why none did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from neuron_exporter.config.schema import Identity as Configured
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, ok, skipped, warning
from neuron_exporter.identity import ecs_task as ecs
from neuron_exporter.identity import imds
from neuron_exporter.identity.environment import VARIABLES
from neuron_exporter.identity.machine import Identity, Step
from neuron_exporter.model import Machine
from neuron_exporter.pipeline.identity import is_of_this_machine, places, wants

SUBJECT = "identity"

PLACES: Mapping[Step, str] = {
    Step.CONFIGURATION: "the configuration",
    Step.STREAM: "neuron-monitor's report",
    Step.DMI: "the firmware",
    Step.IMDS: "EC2's metadata service",
    Step.ECS: "ECS task metadata",
    Step.ENVIRONMENT: "the environment",
}

_TIMEOUT = "no answer within"
_BY_REPORT = frozenset(
    {"instance_id", "instance_type", "instance_name", "availability_zone", "region", "subnet_id"}
)
_BY_FIRMWARE = frozenset({"instance_id", "instance_type"})
_KEYS = frozenset(Configured.model_fields) & {each.name for each in fields(Machine)}


def examine(case: Case) -> Iterator[Finding]:
    """Ask who can be asked for what is lacking, as the exporter does."""
    identity = case.identity
    if identity is None:
        return
    needs = wants(case.config)
    wanted = sorted(needs.labels.union(*needs.sets))
    if not is_of_this_machine(case.config):
        yield skipped(
            SUBJECT, f"reports of source.kind {case.config.source.kind} are of another machine"
        )
        return
    _learn_from_exporter(case, identity, wanted)
    answers = _ask(case, identity, wanted)
    missing = []
    for name in wanted:
        step = identity.told_by(name)
        if step is None:
            missing.append(name)
        else:
            yield ok(SUBJECT, f"{name} is {getattr(identity.machine(), name)} ({PLACES[step]})")
    for step, answer in answers.items():
        if answer and missing:
            yield warning(SUBJECT, f"{PLACES[step]}: {answer}", _advice(step, answer))
    for name in missing:
        is_label = not any(name in names for names in needs.sets)
        yield _missing(case, name, answers, is_label=is_label)


def _learn_from_exporter(case: Case, identity: Identity, wanted: list[str]) -> None:
    """What the running exporter's labels have and nobody here knows came from its reports."""
    if case.exposed is None:
        return
    machine = identity.machine()
    known = {
        name: case.exposed.anywhere(name)
        for name in wanted
        if name in _BY_REPORT and not getattr(machine, name)
    }
    identity.learn(Step.STREAM, Machine(**known))


def _ask(case: Case, identity: Identity, wanted: list[str]) -> dict[Step, str]:
    """What each place answered that was asked; empty where it answered well."""
    answers = {}
    for place in places(case.config, case.environment):
        machine = identity.machine()
        lacking = place.gives & {name for name in wanted if not getattr(machine, name)}
        if lacking:
            told, why = place.ask(lacking)
            identity.learn(place.step, told)
            answers[place.step] = why
    return answers


def _advice(step: Step, answer: str) -> str:
    if step is Step.IMDS and _TIMEOUT in answer:
        return (
            "in a container without the host's network, a hop limit of 1 looks like this: `aws "
            "ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit "
            "2` (Karpenter: metadataOptions.httpPutResponseHopLimit), or set identity.* instead"
        )
    if step is Step.IMDS and "403" in answer:
        return "the service is switched off (HttpEndpoint=enabled turns it on), or set identity.*"
    if step is Step.IMDS and "tags" in answer:
        return "allow tags in instance metadata (InstanceMetadataTags=enabled), or set identity.*"
    if step is Step.ECS:
        return "the ECS agent must be 1.39 or newer, and the exporter run in a task of its"
    return "set identity.* in the configuration instead"


def _missing(case: Case, name: str, answers: Mapping[Step, str], *, is_label: bool) -> Finding:
    tried = []
    if name in _BY_REPORT:
        tried.append(f"{PLACES[Step.STREAM]}: {_report_of(case)}")
    if name in _BY_FIRMWARE:
        tried.append(f"{PLACES[Step.DMI]}: not of Amazon EC2, or not readable")
    if name in imds.GIVES:
        tried.append(f"{PLACES[Step.IMDS]}: {_asked(case, Step.IMDS, answers)}")
    if name in ecs.GIVES:
        tried.append(f"{PLACES[Step.ECS]}: {_asked(case, Step.ECS, answers)}")
    if name in VARIABLES:
        tried.append(f"{PLACES[Step.ENVIRONMENT]}: no {' or '.join(VARIABLES[name])}")
    if name in _KEYS:
        fix = f"set identity.{name}, if no other place can tell it"
    elif name in VARIABLES:
        fix = f"set {VARIABLES[name][0]}, in Kubernetes by the downward API"
    elif is_label:
        fix = "it is a label only: let one of these places tell it, or go without"
    else:
        fix = "leave its dimension out, or put it into cloudwatch.extra_dimensions"
    return warning(SUBJECT, f"{name} is not known ({'; '.join(tried)})", fix)


def _report_of(case: Case) -> str:
    if case.report is not None or case.exposed is not None:
        return "it does not tell"
    return "none was read"


def _asked(case: Case, step: Step, answers: Mapping[Step, str]) -> str:
    if step in answers:
        return answers[step] or "it does not tell"
    if step is Step.IMDS:
        off = "identity.imds is false" if not case.config.identity.imds else ""
        return off or "switched off by AWS_EC2_METADATA_DISABLED"
    return "identity.ecs is false" if not case.config.identity.ecs else "not in a task of ECS's"
