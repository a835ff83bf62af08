"""Generate a CloudFormation template with PromQL alarms on the series that OTLP delivers.

The queries are those of the alert rules for Prometheus, translated by `grafana/alarms_src`. One
alarm watches a whole fleet: each series that its query returns is a contributor with a state of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from neuron_exporter.config import Config, ConfigError, suggest
from neuron_exporter.config.otlp import OtlpConfig
from neuron_exporter.facts.project import RUNBOOK as RUNBOOK_PATH
from neuron_exporter.facts.project import runbook_address
from neuron_exporter.generate.alarms.nodes import (
    RUNBOOK,
    Node,
    actions,
    text_parameter,
    topic_condition,
    topic_parameter,
)
from neuron_exporter.generate.options import Configure
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.pipeline.otlp import select_for_otlp

RECOVERY_SECONDS = 300
"""Seconds without a breach after which a contributor recovers. One late interval does not make it
recover."""

MAX_INTERVAL = 120
"""Longest `otlp.interval` in seconds: the queries look at windows of five minutes and need at least
two points in each."""

_IDENTITY = "instance_id"
_OF_HARDWARE = frozenset(row.name for row in CATALOGUE)
"""Metrics that the selection decides on. The exporter's other metrics are always delivered."""


class PromqlAlarm(NamedTuple):
    """Alarm whose query returns one series for each contributor that breaches."""

    name: str
    severity: str
    condition: str
    pending: int
    interval: int
    metrics: list[str]
    query: str


class PromqlAlarms(NamedTuple):
    """All alarms, and the alert rules that cannot be alarms, with the reason."""

    alarms: tuple[PromqlAlarm, ...]
    left_out: Mapping[str, str]


def read_alarms() -> PromqlAlarms:
    """Return the alarms that are part of the package."""
    path = files("neuron_exporter.generate.alarms") / "promql_alarms.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    alarms = tuple(PromqlAlarm(**each) for each in document["alarms"])
    return PromqlAlarms(alarms, document["left_out"])


def promql_alarms(
    configure: Configure,
    *,
    without: Collection[str] = (),
    explain: Callable[[str], None] = lambda _: None,
) -> Node:
    """Return the template.

    An allow-list (`preset: none`) has only the alarms whose metrics it names. The template's
    metadata and `explain` receive the reason for each alert that has no alarm.

    Args:
        without: names of alarms to omit.

    Raises:
        ConfigError: OTLP is off, or an alarm would read a metric that is not delivered.
    """
    loaded = configure(())
    _check_settings(loaded.config)
    everything = read_alarms()
    _check_names(without, everything)
    selection, problems = select_for_otlp(loaded)
    if problems:
        raise ConfigError(problems)
    wanted = [alarm for alarm in everything.alarms if alarm.name not in without]
    left_out = dict(everything.left_out)
    delivered = {row.name for row in selection.rows}
    missing = {alarm.name: absent for alarm in wanted if (absent := _missing(alarm, delivered))}
    otlp = loaded.config.otlp
    if otlp.preset == "none" and len(missing) < len(wanted):
        left_out |= {
            name: f"not in the allow-list otlp.include: {', '.join(metrics)}"
            for name, metrics in missing.items()
        }
    elif missing:
        raise ConfigError([_problem(*each, otlp) for each in missing.items()])
    for name, reason in left_out.items():
        explain(f"{name} is left out: {reason}")
    return _template([alarm for alarm in wanted if alarm.name not in left_out], left_out)


def _check_settings(config: Config) -> None:
    otlp = config.otlp
    problems = []
    if not otlp.enabled:
        problems.append("otlp.enabled: must be true for PromQL alarms (got False)")
    if otlp.interval > MAX_INTERVAL:
        problems.append(
            f"otlp.interval: must be at most {MAX_INTERVAL}s for PromQL alarms, which look at "
            f"windows of five minutes (got {otlp.interval:g}s)"
        )
    if _IDENTITY not in config.prometheus.identity_labels:
        problems.append(
            f"prometheus.identity_labels: must have {_IDENTITY}, by which PromQL alarms identify "
            "machines"
        )
    if problems:
        raise ConfigError(problems)


def _check_names(without: Collection[str], everything: PromqlAlarms) -> None:
    names = [alarm.name for alarm in everything.alarms]
    unknown = [
        f"--without: no such alarm; {suggest(name, names)} (got {name!r})"
        for name in without
        if name not in names and name not in everything.left_out
    ]
    if unknown:
        raise ConfigError(unknown)
    if set(names) <= set(without):
        raise ConfigError(["--without: must leave at least one alarm"])


def _missing(alarm: PromqlAlarm, delivered: Collection[str]) -> list[str]:
    """Return the metrics that an alarm reads and that are not delivered."""
    return [name for name in alarm.metrics if name in _OF_HARDWARE and name not in delivered]


def _problem(name: str, metrics: Sequence[str], otlp: OtlpConfig) -> str:
    """Explain why the metrics of an alarm are not delivered, or how to deliver them."""
    included = [*otlp.include, *metrics]
    selection, _ = select_for_prometheus(otlp.preset, included, otlp.exclude)
    listed = ", ".join(metrics)
    if {row.name for row in selection.rows}.issuperset(metrics):
        fix = f"set otlp.include: [{listed}]"
    else:
        fix = f"otlp.exclude removes {listed}"
    return (
        f"{name}: reads metrics that OTLP does not deliver: {fix}, or omit the alarm: "
        f"--without {name}"
    )


def _template(alarms: Iterable[PromqlAlarm], left_out: Mapping[str, str]) -> Node:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "PromQL alarms on what Neuron Exporters deliver over OTLP to this account "
        "and region. Each contributor of an alarm is a machine, or a device, runtime or owner "
        "there; its attributes say which.",
        "Metadata": {"LeftOut": dict(left_out)},
        "Parameters": {
            **topic_parameter(),
            RUNBOOK: text_parameter(
                Default=runbook_address() or RUNBOOK_PATH,
                Description="Address of the runbook, which descriptions of alarms name",
            ),
        },
        "Conditions": topic_condition(),
        "Resources": {alarm.name: _resource(alarm) for alarm in alarms},
    }


def _resource(alarm: PromqlAlarm) -> dict[str, Any]:
    condition = alarm.condition[0].upper() + alarm.condition[1:]
    description = (
        f"{condition}. Severity: {alarm.severity}. Runbook: ${{{RUNBOOK}}}#{alarm.name.lower()}"
    )
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"${{AWS::StackName}}-{alarm.name}"},
            "AlarmDescription": {"Fn::Sub": description},
            "EvaluationCriteria": {
                "PromQLCriteria": {
                    "Query": alarm.query,
                    "PendingPeriod": alarm.pending,
                    "RecoveryPeriod": RECOVERY_SECONDS,
                }
            },
            "EvaluationInterval": alarm.interval,
            **actions(),
            "Tags": [{"Key": "severity", "Value": alarm.severity}],
        },
    }
