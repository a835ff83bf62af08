"""Build the CloudFormation template of the alarms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.project import runbook_address
from neuron_exporter.generate.alarms.expected import ExpectedNumber
from neuron_exporter.generate.alarms.nodes import (
    MAX_DESCRIPTION,
    RUNBOOK,
    Node,
    Value,
    actions,
    equals,
    if_node,
    is_set,
    number_parameter,
    text_parameter,
    topic_condition,
    topic_parameter,
)
from neuron_exporter.generate.alarms.rules import Query, Rule
from neuron_exporter.metrics.catalogue import CATALOGUE

_HOUR, _DAY, _WEEK = 3600, 86_400, 604_800
_RESOLUTION = 60
"""Seconds. Metrics have a resolution of one minute: alarms with periods of 10, 20 or 30 s would
find no points in between, and cost three times as much."""

_PERIODS = (60, 120, 180, 300, 600, 900, 1800, 3600, 21_600)

_UNITS = {metric.name: metric.unit for row in CATALOGUE for metric in row.cloudwatch}
_EACH, _HAS_RUNBOOK = "NotifiesEach", "HasRunbook"


def build_template(
    rules: Sequence[Rule],
    *,
    namespace: str,
    interval: int,
    dimensions: Mapping[str, Value],
    machine: str | None,
) -> Node:
    """Build the template.

    Args:
        interval: seconds between two values of a machine.
        machine: its instance id for alarms on one machine, None for alarms on a fleet.

    Raises:
        ConfigError: no alarm period is a multiple of the interval.
    """
    target = "the fleet" if machine is None else f"the machine {machine}"
    numbers = [ExpectedNumber(rule.expected, dimensions) for rule in rules if rule.expected]
    writer = _Writer(namespace, interval, dimensions)
    resources = {rule.key: writer.alarm(rule) for rule in rules}
    health_keys = [rule.key for rule in rules if rule.is_health]
    if health_keys:
        key = "NeuronFleetUnhealthy" if machine is None else "NeuronMachineUnhealthy"
        resources[key] = _composite(health_keys, target, is_fleet=machine is None)
    assertions = _merged(number.rules() for number in numbers)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": (
            f"Alarms on the metrics that Neuron Exporter publishes for {target}, in namespace "
            f"{namespace} with the dimensions {', '.join(dimensions)}."
        )[:MAX_DESCRIPTION],
        "Parameters": _parameters(rules, interval, dimensions, numbers),
        **({"Rules": assertions} if assertions else {}),
        "Conditions": {
            **topic_condition(),
            _HAS_RUNBOOK: is_set(RUNBOOK),
            **({_EACH: equals("Notify", "each")} if health_keys else {}),
            **_merged(number.conditions() for number in numbers),
        },
        "Resources": resources,
    }


def alarm_metrics(document: Mapping[str, Any]) -> tuple[int, int]:
    """Count what is billed: metrics that the alarms read, and composite alarms.

    The metric of the expected number is counted even if the parameters do not use it.
    """
    resources = document["Resources"].values()
    alarms = [each["Properties"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    queries = [query for each in alarms for query in each.get("Metrics", [{"MetricStat": each}])]
    metrics = sum("MetricStat" in query.get("Fn::If", [None, query])[1] for query in queries)
    return metrics, len(resources) - len(alarms)


def periods(rule: Rule, interval: int) -> list[int]:
    """Return the allowed periods of an alarm (s), the default first: whole numbers of minutes and
    of intervals.

    Raises:
        ConfigError: there is none.
    """
    base = math.lcm(_RESOLUTION, interval)
    default = math.ceil(rule.period / base) * base
    points = rule.datapoints[1]
    if default * points > _max_evaluation(default):
        raise ConfigError(
            [f"cloudwatch.flush_interval: {rule.name} would need periods of {default} s, and "
             f"{points} of them are longer than CloudWatch allows; must be a divisor or a multiple "
             f"of a minute, such as 60s (got {interval}s)"]
        )  # fmt: skip
    more = {at for at in _PERIODS if at % base == 0 and at * points <= _max_evaluation(at)}
    return [default, *sorted(more - {default})]


def _max_evaluation(period: int) -> int:
    """Return the maximum total duration of an alarm's periods (s)."""
    return _WEEK if period >= _HOUR else _DAY


class _Writer(NamedTuple):
    """Writer of alarms on the series of one dimension set."""

    namespace: str
    interval: int
    values: Mapping[str, Value]

    @property
    def _dimensions(self) -> list[Node]:
        return [{"Name": name, "Value": value.node} for name, value in self.values.items()]

    def alarm(self, rule: Rule) -> Node:
        datapoints, periods = rule.datapoints
        properties: Node = {
            "AlarmName": {"Fn::Sub": f"${{AWS::StackName}}-{rule.name}"},
            "AlarmDescription": _with_runbook(
                f"{rule.meaning} What to do: {rule.action} Missing data is treated as "
                f"{rule.missing}: {rule.missing_reason}.",
                rule.alert,
            ),
            **(self._math(rule) if rule.expression else self._plain(rule, rule.queries[0])),
            "ComparisonOperator": rule.comparison,
            "Threshold": {"Ref": rule.threshold.parameter},
            "EvaluationPeriods": periods,
            "DatapointsToAlarm": datapoints,
            "TreatMissingData": rule.missing,
            **({"EvaluateLowSampleCountPercentile": "ignore"} if rule.needs_samples else {}),
            "ActionsEnabled": if_node(_EACH, True, False) if rule.is_health else True,
            **actions(),
        }
        return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}

    def _plain(self, rule: Rule, query: Query) -> Node:
        kind = "ExtendedStatistic" if query.statistic.startswith("p") else "Statistic"
        return {
            "Namespace": self.namespace,
            "MetricName": query.metric,
            "Dimensions": self._dimensions,
            kind: query.statistic,
            "Unit": _UNITS[query.metric],
            "Period": {"Ref": _period_of(rule)},
        }

    def _math(self, rule: Rule) -> Node:
        expression: Any = self._with_interval(rule.expression)
        metrics: list[Any] = []
        if rule.expected:
            number = ExpectedNumber(rule.expected, self.values)
            with_number = self._with_interval(rule.expected.with_number)
            expression = number.expression(expression, with_number)
            if dimensions := number.metric_dimensions():
                stat = _stat(rule.expected.query, rule, rule.expected.namespace, dimensions)
                metrics.append(number.if_read(stat))
        metrics += [_stat(each, rule, self.namespace, self._dimensions) for each in rule.queries]
        watched = {"Id": "watched", "Expression": expression, "Label": rule.name}
        return {"Metrics": [{**watched, "ReturnData": True}, *metrics]}

    def _with_interval(self, expression: str) -> str:
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


def _with_runbook(description: str, alert: str) -> Node:
    """Return the description, with the alert's section of the runbook where there is an address."""
    linked = f"{description} ${{{RUNBOOK}}}#{alert.lower()}"
    return if_node(_HAS_RUNBOOK, {"Fn::Sub": linked}, description)


def _composite(keys: Iterable[str], target: str, *, is_fleet: bool) -> Node:
    kind = "fleet" if is_fleet else "machine"
    return {
        "Type": "AWS::CloudWatch::CompositeAlarm",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"${{AWS::StackName}}-neuron-{kind}-unhealthy"},
            "AlarmDescription": f"Neuron {kind} unhealthy: at least one alarm on {target} is in "
            "ALARM. Read the description of that alarm. The alarm on idle machines is about cost "
            "and is not included.",
            "AlarmRule": {"Fn::Sub": " OR ".join(f'ALARM("${{{key}.Arn}}")' for key in keys)},
            "ActionsEnabled": if_node(_EACH, False, True),
            **actions(),
        },
    }


def _parameters(
    rules: Iterable[Rule],
    interval: int,
    dimensions: Mapping[str, Value],
    numbers: Iterable[ExpectedNumber],
) -> Node:
    parameters: Node = {}
    for name, value in dimensions.items():
        if value.reference and not value.reference.startswith("AWS::"):
            about = f"Value of the dimension {name} as the exporter publishes it"
            default = {"Default": value.default} if value.default else {}
            parameters[value.reference] = text_parameter(Description=about, MinLength=1, **default)
    parameters |= topic_parameter()
    parameters[RUNBOOK] = text_parameter(
        Default=runbook_address(),
        Description="Address of the runbook, to which descriptions of alarms link; empty for none",
    )
    if any(rule.is_health for rule in rules):
        parameters["Notify"] = text_parameter(
            Default="each",
            AllowedValues=["each", "composite"],
            Description="each: every alarm notifies; composite: the composite alarm notifies in "
            "place of its members",
        )
    for number in numbers:
        parameters |= number.parameters()
    for rule in rules:
        threshold, allowed = rule.threshold, periods(rule, interval)
        parameters[threshold.parameter] = number_parameter(
            Default=threshold.default,
            MinValue=threshold.minimum,
            **({"MaxValue": threshold.maximum} if threshold.maximum is not None else {}),
            Description=f"{rule.name}: {threshold.help}",
        )
        parameters[_period_of(rule)] = number_parameter(
            Default=allowed[0],
            AllowedValues=sorted(allowed),
            Description=f"{rule.name}: length of a period in seconds; {rule.datapoints[0]} of "
            f"{rule.datapoints[1]} periods must breach",
        )
    return parameters


def _merged(nodes: Iterable[Node]) -> Node:
    return {key: value for node in nodes for key, value in node.items()}


def _period_of(rule: Rule) -> str:
    return f"{rule.key}Period"
