"""Alarms as a CloudFormation template."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.generate.alarms.rules import Query, Rule
from neuron_exporter.metrics.catalogue import CATALOGUE

LONGEST_DESCRIPTION = 1024
"""Characters, of an alarm's description and of a template's."""

_HOUR, _DAY, _WEEK = 3600, 86_400, 604_800
_SHORTEST = 60
"""Seconds. Metrics are sent with a resolution of a minute: an alarm of 10, 20 or 30 s would find no
points in between, and cost three times as much."""

_PERIODS = (60, 120, 180, 300, 600, 900, 1800, 3600, 21_600)

_UNITS = {metric.name: metric.unit for row in CATALOGUE for metric in row.cloudwatch}
_GROUP, _EXPECTED = "AutoScalingGroupName", "ExpectedMachines"
_HAS_GROUP, _HAS_TOPIC, _EACH = "HasGroup", "HasTopic", "NotifiesEach"
_NOTHING = {"Ref": "AWS::NoValue"}

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """A dimension's value: a text, or what a parameter of this name is given."""

    text: str = ""
    reference: str = ""
    default: str = ""

    @property
    def node(self) -> Any:
        """As it stands in the template."""
        return {"Ref": self.reference} if self.reference else self.text


def template(
    rules: Sequence[Rule],
    *,
    namespace: str,
    interval: int,
    dimensions: Mapping[str, Value],
    machine: str | None,
) -> Node:
    """The template.

    Args:
        interval: seconds between two values of a machine.
        machine: its id, where the alarms are on one machine and not on a fleet.

    Raises:
        ConfigError: no alarm can have a period that such an interval divides.
    """
    whom = "the fleet" if machine is None else f"the machine {machine}"
    pairs = [{"Name": name, "Value": value.node} for name, value in dimensions.items()]
    grouped = any(rule.machines for rule in rules)
    writer = _Writer(namespace, interval, pairs)
    resources = {rule.key: writer.alarm(rule) for rule in rules}
    ill = [rule.key for rule in rules if rule.unhealthy]
    if ill:
        key = "NeuronFleetUnhealthy" if machine is None else "NeuronMachineUnhealthy"
        resources[key] = _composite(ill, whom, machine is None)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": (
            f"Alarms on what Neuron Exporter publishes of {whom}, in {namespace} with the "
            f"dimensions {', '.join(dimensions)}."
        )[:LONGEST_DESCRIPTION],
        "Parameters": _parameters(rules, interval, dimensions, grouped=grouped),
        **({"Rules": _rules()} if grouped else {}),
        "Conditions": {
            _HAS_TOPIC: _given("SnsTopicArn"),
            **({_EACH: {"Fn::Equals": [{"Ref": "Notify"}, "each"]}} if ill else {}),
            **({_HAS_GROUP: _reads_group(dimensions)} if grouped else {}),
        },
        "Resources": resources,
    }


def alarm_metrics(document: Mapping[str, Any]) -> tuple[int, int]:
    """What of a template is billed: metrics of alarms, and composite alarms.

    Where a scaling group may be read, it is counted as if it were.
    """
    kinds = [(each["Type"], each["Properties"]) for each in document["Resources"].values()]
    alarms = [made for kind, made in kinds if kind == "AWS::CloudWatch::Alarm"]
    metrics = sum(
        sum("MetricStat" in _with_group(query) for query in made["Metrics"])
        if "Metrics" in made
        else 1
        for made in alarms
    )
    return metrics, len(kinds) - len(alarms)


def _with_group(query: Node) -> Node:
    chosen: Node = query["Fn::If"][1] if "Fn::If" in query else query
    return chosen


def periods(rule: Rule, interval: int) -> list[int]:
    """The periods (s) that an alarm may have, its default first: whole numbers of minutes and of
    intervals.

    Raises:
        ConfigError: there is none.
    """
    base = math.lcm(_SHORTEST, interval)
    default = math.ceil(rule.period / base) * base
    points = rule.datapoints[1]
    if default * points > _longest(default):
        raise ConfigError(
            [f"cloudwatch.flush_interval: {rule.name} would need periods of {default} s, and "
             f"{points} of them are longer than CloudWatch allows; must be a divisor or a multiple "
             f"of a minute, such as 60s (got {interval}s)"]
        )  # fmt: skip
    more = {at for at in _PERIODS if at % base == 0 and at * points <= _longest(at)}
    return [default, *sorted(more - {default})]


def _longest(period: int) -> int:
    """Seconds that all periods of an alarm may last together."""
    return _WEEK if period >= _HOUR else _DAY


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes alarms on series of one set of dimensions."""

    namespace: str
    interval: int
    dimensions: list[Node]

    def alarm(self, rule: Rule) -> Node:
        missing, of = rule.datapoints
        properties: Node = {
            "AlarmName": {"Fn::Sub": f"${{AWS::StackName}}-{rule.name}"},
            "AlarmDescription": _description(rule),
            **(self._math(rule) if rule.expression else self._plain(rule, rule.queries[0])),
            "ComparisonOperator": rule.comparison,
            "Threshold": {"Ref": rule.threshold.parameter},
            "EvaluationPeriods": of,
            "DatapointsToAlarm": missing,
            "TreatMissingData": rule.missing,
            **({"EvaluateLowSampleCountPercentile": "ignore"} if rule.needs_samples else {}),
            "ActionsEnabled": _if(_EACH, True, False) if rule.unhealthy else True,
            **_actions(),
        }
        return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}

    def _plain(self, rule: Rule, query: Query) -> Node:
        kind = "ExtendedStatistic" if query.statistic.startswith("p") else "Statistic"
        return {
            "Namespace": self.namespace,
            "MetricName": query.metric,
            "Dimensions": self.dimensions,
            kind: query.statistic,
            "Unit": _UNITS[query.metric],
            "Period": {"Ref": _period_of(rule)},
        }

    def _math(self, rule: Rule) -> Node:
        expression: Any = self._filled(rule.expression)
        metrics: list[Any] = []
        if rule.machines:
            otherwise = {"Fn::Sub": self._filled(rule.machines.expected)}
            expression = _if(_HAS_GROUP, expression, otherwise)
            group = _stat(
                rule.machines.query,
                rule,
                "AWS/AutoScaling",
                [{"Name": _GROUP, "Value": {"Ref": _GROUP}}],
            )
            metrics.append(_if(_HAS_GROUP, group, _NOTHING))
        metrics += [_stat(each, rule, self.namespace, self.dimensions) for each in rule.queries]
        watched = {"Id": "watched", "Expression": expression, "Label": rule.name}
        return {"Metrics": [{**watched, "ReturnData": True}, *metrics]}

    def _filled(self, expression: str) -> str:
        return expression.replace("{interval}", str(self.interval))


def _stat(query: Query, rule: Rule, namespace: str, dimensions: list[Node]) -> Node:
    metric = {"Namespace": namespace, "MetricName": query.metric, "Dimensions": dimensions}
    unit = _UNITS.get(query.metric)
    return {
        "Id": query.id,
        "MetricStat": {
            "Metric": metric,
            "Period": {"Ref": _period_of(rule)},
            "Stat": query.statistic,
            **({"Unit": unit} if unit else {}),
        },
        "ReturnData": False,
    }


def _composite(keys: Iterable[str], whom: str, fleet: bool) -> Node:
    name = "neuron-fleet-unhealthy" if fleet else "neuron-machine-unhealthy"
    title = "Neuron fleet unhealthy" if fleet else "Neuron machine unhealthy"
    return {
        "Type": "AWS::CloudWatch::CompositeAlarm",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"${{AWS::StackName}}-{name}"},
            "AlarmDescription": f"{title}: at least one of the alarms on {whom} is in ALARM; its "
            "own description says what to look at. Idle machines are a matter of money, not of "
            "health, and are left out.",
            "AlarmRule": {"Fn::Sub": " OR ".join(f'ALARM("${{{key}.Arn}}")' for key in keys)},
            "ActionsEnabled": _if(_EACH, False, True),
            **_actions(),
        },
    }


def _description(rule: Rule) -> str:
    return f"{rule.means} First: {rule.first} Missing data is {rule.missing}: {rule.because}."


def _parameters(
    rules: Iterable[Rule], interval: int, dimensions: Mapping[str, Value], *, grouped: bool
) -> Node:
    made: Node = {}
    for name, value in dimensions.items():
        if value.reference and not value.reference.startswith("AWS::"):
            made[value.reference] = {
                "Type": "String",
                "Description": f"Value of the dimension {name}, as the exporter publishes it",
                "MinLength": 1,
                **({"Default": value.default} if value.default else {}),
            }
    made["SnsTopicArn"] = {
        "Type": "String",
        "Default": "",
        "Description": "SNS topic that is told when an alarm begins and ends; empty: nobody is",
    }
    if any(rule.unhealthy for rule in rules):
        made["Notify"] = {
            "Type": "String",
            "Default": "each",
            "AllowedValues": ["each", "composite"],
            "Description": "Whether each alarm notifies, or the composite in place of its members",
        }
    if grouped and not _names_group(dimensions):
        made[_GROUP] = {
            "Type": "String",
            "Default": dimensions[_GROUP].text if _GROUP in dimensions else "",
            "Description": "Scaling group of the machines, with its group metrics collected; "
            f"empty: {_EXPECTED}",
        }
    if grouped:
        made[_EXPECTED] = {
            "Type": "Number",
            "Default": 0,
            "MinValue": 0,
            "Description": "How many machines there should be, where no scaling group counts them",
        }
    for rule in rules:
        made[rule.threshold.parameter] = {
            "Type": "Number",
            "Default": rule.threshold.default,
            "MinValue": rule.threshold.least,
            **({"MaxValue": rule.threshold.most} if rule.threshold.most is not None else {}),
            "Description": f"{rule.name}: {rule.threshold.help}",
        }
        allowed = periods(rule, interval)
        made[_period_of(rule)] = {
            "Type": "Number",
            "Default": allowed[0],
            "AllowedValues": sorted(allowed),
            "Description": f"{rule.name}: seconds of each of its {rule.datapoints[1]} periods, "
            f"of which {rule.datapoints[0]} must breach",
        }
    return made


_NONE_EXPECTED = {"Fn::Equals": [{"Ref": _EXPECTED}, "0"]}


def _names_group(dimensions: Mapping[str, Value]) -> bool:
    """Whether the series are those of a scaling group, whose name is then always given."""
    return _GROUP in dimensions and dimensions[_GROUP].reference == _GROUP


def _reads_group(dimensions: Mapping[str, Value]) -> Node:
    """Whether the scaling group counts the machines."""
    return _NONE_EXPECTED if _names_group(dimensions) else _given(_GROUP)


def _rules() -> Node:
    """What CloudFormation asks of the parameters before it makes anything."""
    nobody = {"Fn::Equals": [{"Ref": _GROUP}, ""]}
    return {
        "MachinesAreKnown": {
            "Assertions": [
                {
                    "Assert": {"Fn::Not": [{"Fn::And": [nobody, _NONE_EXPECTED]}]},
                    "AssertDescription": f"{_GROUP} or {_EXPECTED} must be given: else nobody "
                    "would be missed",
                }
            ]
        }
    }


def _actions() -> Node:
    topic = _if(_HAS_TOPIC, [{"Ref": "SnsTopicArn"}], _NOTHING)
    return {"AlarmActions": topic, "OKActions": topic}


def _given(parameter: str) -> Node:
    return {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}


def _if(condition: str, then: Any, otherwise: Any) -> Node:
    return {"Fn::If": [condition, then, otherwise]}


def _period_of(rule: Rule) -> str:
    return f"{rule.key}Period"
