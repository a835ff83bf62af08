"""A CloudFormation template with alarms on just those series that a configuration publishes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from neuron_exporter.config import ConfigError, Given, suggest
from neuron_exporter.config.schema import CloudWatch, Config
from neuron_exporter.generate.alarms import rules as alarm_rules
from neuron_exporter.generate.alarms.rules import Rule
from neuron_exporter.generate.alarms.template import Value, template
from neuron_exporter.generate.dry_run import (
    DEFAULT_INSTANCE_TYPE,
    STAND_IN,
    Configure,
    Count,
    Part,
    check_type,
    count,
)
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.pipeline.build import build
from neuron_exporter.sinks.cloudwatch.dimensions import ONE_MACHINE, clean

_PSEUDO = {"Region": "AWS::Region", "AccountId": "AWS::AccountId"}

_HEAD = "# Written by `neuron-exporter alarms`: change the configuration and write it anew.\n"


class _Dumper(yaml.SafeDumper):
    """Without aliases, which CloudFormation refuses; what is short stands on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        return super().represent_sequence(tag, sequence, _is_short(sequence))

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
        return super().represent_mapping(tag, mapping, _is_short(mapping.values()))


def _is_short(items: Collection[Any]) -> bool:
    """Whether these are numbers and names, or one reference to such."""
    return all(isinstance(item, int | float) for item in items) or (
        len(items) == 1 and all(isinstance(item, str) and " " not in item for item in items)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command was asked for."""

    instance_type: str | None = None
    stream: str | None = None
    instance_id: str | None = None
    without: Collection[str] = ()


def alarms(configure: Configure, asked: Asked) -> dict[str, Any]:
    """The template.

    Raises:
        ConfigError: configuration, type, file or name cannot be used, or an alarm would watch what
            is not published.
    """
    config = configure(()).config
    cloudwatch = config.cloudwatch
    name = asked.instance_type or config.identity.instance_type or DEFAULT_INSTANCE_TYPE
    if asked.stream is None:
        check_type(name)
    rules = _wanted(asked)
    if not cloudwatch.enabled:
        raise ConfigError(
            ["cloudwatch.enabled: must be true for alarms: nothing is published (got False)"]
        )
    counted = count(configure, instance_type=name, stream=asked.stream)
    part = _choose(counted, rules, asked.instance_id)
    _check_published(rules, part, counted, cloudwatch)
    known = asked.instance_type or config.identity.instance_type
    if asked.stream is not None and "InstanceType" in part.dimensions:
        known = _type_in(configure, asked.stream)
    values = {
        dimension: _value(dimension, asked, config, known or "") for dimension in part.dimensions
    }
    sent_to, runs_in = cloudwatch.region, config.identity.region
    by_region = "Region" in values and "Region" not in cloudwatch.extra_dimensions
    if by_region and sent_to and runs_in and sent_to != runs_in:
        values["Region"] = Value(text=runs_in)  # the stack is where the metrics are
    return template(
        rules,
        namespace=cloudwatch.namespace,
        interval=int(cloudwatch.flush_interval),
        dimensions=values,
        machine=asked.instance_id,
    )


def as_yaml(document: Mapping[str, Any]) -> str:
    """The template for people and for CloudFormation."""
    return _HEAD + str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100))


def as_json(document: Mapping[str, Any]) -> str:
    """The template for programs."""
    return json.dumps(document, indent=2) + "\n"


def _wanted(asked: Asked) -> tuple[Rule, ...]:
    unknown = [
        f"--without: no such alarm; {suggest(name, alarm_rules.NAMES)} (got {name!r})"
        for name in asked.without
        if name not in alarm_rules.NAMES
    ]
    if unknown:
        raise ConfigError(unknown)
    given = asked.instance_id
    if given is not None and (not given.strip() or clean(given) != given):
        raise ConfigError(
            ["--instance-id: must be 1 to 1024 printable ASCII characters, such as i-0abc, as "
             f"InstanceId has them (got {given!r})"]
        )  # fmt: skip
    rules = alarm_rules.FLEET if given is None else alarm_rules.MACHINE
    left = tuple(rule for rule in rules if rule.name not in asked.without)
    if not left:
        raise ConfigError(["--without: leaves no alarm"])
    return left


# The series


def _choose(counted: Count, rules: Iterable[Rule], instance_id: str | None) -> Part:
    """The set that most alarms can be made on; of several such the coarsest."""
    if instance_id is None:
        fitting = [each for each in counted.parts if each.shared]
        line = "[ClusterName]"
        what = "alarms on a fleet need a set without " + ", ".join(sorted(ONE_MACHINE))
    else:
        fitting = [each for each in counted.parts if "InstanceId" in each.dimensions]
        line = "[InstanceId, InstanceType]"
        what = "alarms on one machine need a set with InstanceId"
    if not fitting:
        also = "" if instance_id is not None else "; or name one machine with --instance-id"
        raise ConfigError(
            [f"cloudwatch.dimension_sets: {what}: add {line} to it{also} ({_sets(counted)})"]
        )
    return min(fitting, key=lambda each: (len(list(_lacking(rules, each))), len(each.dimensions)))


def _sets(counted: Count) -> str:
    """What is published and what is not, by dimension set."""
    published = ", ".join(_shown(each.dimensions) for each in counted.parts) or "none"
    unknown = [
        f"{_shown(names)} for lack of {', '.join(lacking)}"
        for names, lacking in counted.dropped.items()
    ]
    return "; not counted: ".join([f"published: {published}", *unknown])


def _lacking(rules: Iterable[Rule], part: Part) -> Iterable[tuple[Rule, str]]:
    """Alarms and the metrics that they would watch in vain."""
    for rule in rules:
        for query in rule.queries:
            if query.metric not in part.metrics:
                yield rule, query.metric


def _check_published(
    rules: Iterable[Rule], part: Part, counted: Count, settings: CloudWatch
) -> None:
    problems = [
        f"{rule.name}: {metric} is not published in {_shown(part.dimensions)}: "
        f"{_remedy(metric, part, counted, settings)}, or leave the alarm out: --without {rule.name}"
        for rule, metric in _lacking(rules, part)
    ]
    if problems:
        raise ConfigError(problems)


def _remedy(metric: str, part: Part, counted: Count, settings: CloudWatch) -> str:
    """How a metric can be had that is not published."""
    of_task = settings.scope == "task"
    chosen, _ = for_cloudwatch(settings.preset, settings.include, settings.exclude, of_task=of_task)
    spending = counted.spending
    if any(name == metric and {*names} <= {*part.dimensions} for names, name in spending.dropped):
        return (
            f"the budget of {spending.limit} drops it, where {spending.wanted} are wanted: name it "
            "in cloudwatch.budget.keep, or raise cloudwatch.budget"
        )
    if metric in chosen.names:
        others = [_shown(each.dimensions) for each in counted.parts if metric in each.metrics]
        return f"it goes to {', '.join(others)}" if others else "such a machine does not report it"
    added = [*settings.include, metric]
    included, unusable = for_cloudwatch(settings.preset, added, settings.exclude, of_task=of_task)
    if unusable:
        return f"it {unusable[0].message}"
    if metric not in included.names:
        return f"cloudwatch.exclude takes it away (it holds {', '.join(settings.exclude)})"
    return f"cloudwatch.include: [{metric}]"


def _value(dimension: str, asked: Asked, config: Config, known_type: str) -> Value:
    """A dimension's value: text, a pseudo parameter, or a parameter of the template."""
    extra = config.cloudwatch.extra_dimensions
    if dimension in extra:
        value = clean(extra[dimension])
        if dimension == "InstanceId" and asked.instance_id not in (None, value):
            raise ConfigError(
                [f"--instance-id: is not what cloudwatch.extra_dimensions.InstanceId says of each "
                 f"machine, {value!r} (got {asked.instance_id!r})"]
            )  # fmt: skip
        return Value(text=value)
    if dimension in _PSEUDO:
        return Value(reference=_PSEUDO[dimension])
    if dimension == "InstanceId" and asked.instance_id is not None:
        return Value(text=asked.instance_id)
    if dimension == "InstanceType":
        if known_type and asked.instance_id is not None:
            return Value(text=known_type)
        if asked.instance_id is not None:
            raise ConfigError(
                ["--instance-type: must be given (or --stream, or identity.instance_type): the "
                 "set of dimensions names the machine's type"]
            )  # fmt: skip
        return Value(reference=dimension, default=known_type)
    configured = {
        "ClusterName": config.identity.cluster,
        "AutoScalingGroupName": config.identity.auto_scaling_group,
    }
    return Value(reference=dimension, default=clean(configured.get(dimension) or ""))


def _type_in(configure: Configure, stream: str) -> str:
    """The machine's type as the reports of a file tell it."""
    settings = {
        "source.kind": "file",
        "source.path": stream,
        "source.replay.at_end": "exit",
        "source.replay.speed": 0,
        "prometheus.enabled": True,
        "prometheus.web_config_file": None,
        "cloudwatch.enabled": False,
    }
    flags = [Given("--stream", key, value) for key, value in settings.items()]
    pipeline = build(configure(flags), environment={})
    pipeline.source.run(pipeline.intake)
    found = pipeline.identity.machine().instance_type
    return "" if found == STAND_IN else found


def _shown(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"
