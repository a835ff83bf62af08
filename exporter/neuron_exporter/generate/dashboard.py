"""A dashboard of CloudWatch with just those series that a configuration publishes.

The form is that of "Dashboard Body Structure and Syntax" in the CloudWatch API reference; the
limits are its quotas: 500 widgets of a dashboard, 500 metrics of a widget, 2,500 of a dashboard.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.config.schema import Config
from neuron_exporter.generate.dry_run import (
    DEFAULT_INSTANCE_TYPE,
    Configure,
    Part,
    check_type,
    count,
)
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import CloudWatchMetric, Pooling
from neuron_exporter.sinks.cloudwatch.dimensions import clean

MOST_WIDGETS = 500
MOST_METRICS = 2500
"""Of a dashboard; a widget of ours has far less than the 500 that it may have."""

_COLUMNS, _WIDTH, _HEIGHT, _HEADING = 24, 8, 6, 2

_METRICS: Mapping[str, CloudWatchMetric] = {
    metric.name: metric for row in CATALOGUE for metric in row.cloudwatch
}

_PLAIN = re.compile(r"[A-Za-z0-9_/]+")
_UNQUOTABLE = re.compile(r"[\"'\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command was asked for."""

    instance_type: str | None = None
    stream: str | None = None
    instance_id: str | None = None
    region: str | None = None


def cloudwatch_dashboard(configure: Configure, asked: Asked) -> dict[str, Any]:
    """The body of a dashboard, as PutDashboard takes it.

    Raises:
        ConfigError: configuration, type or file cannot be used, nothing is published, the region is
            not known, or there would be more widgets or metrics than CloudWatch takes.
    """
    config = configure(()).config
    cloudwatch = config.cloudwatch
    name = asked.instance_type or config.identity.instance_type or DEFAULT_INSTANCE_TYPE
    if asked.stream is None:
        check_type(name)
    if not cloudwatch.enabled:
        raise ConfigError(
            ["cloudwatch.enabled: must be true for a dashboard: nothing is published (got False)"]
        )
    given = asked.instance_id
    if given is not None and (not given.strip() or clean(given) != given):
        raise ConfigError(
            ["--instance-id: must be 1 to 1024 printable ASCII characters, such as i-0abc, as "
             f"InstanceId has them (got {given!r})"]
        )  # fmt: skip
    region = asked.region or cloudwatch.region or config.identity.region
    if region is None:
        raise ConfigError(
            ["--region: must be given (or cloudwatch.region): each graph names its region"]
        )
    counted = count(configure, instance_type=name, stream=asked.stream)
    known = _known(config, asked)
    period = max(60, 60 * math.ceil(cloudwatch.flush_interval / 60))
    widgets = list(_placed(counted.parts, cloudwatch.namespace, known, region, period))
    _check(widgets)
    return {"start": "-PT3H", "periodOverride": "inherit", "widgets": widgets}


def as_json(body: Mapping[str, Any]) -> str:
    """The body for PutDashboard."""
    return json.dumps(body, indent=2) + "\n"


def _known(config: Config, asked: Asked) -> dict[str, str]:
    """Values of dimensions that are the same wherever this configuration runs, and those of the one
    machine that was asked for."""
    identity = config.identity
    known = {
        "InstanceId": asked.instance_id or identity.instance_id,
        "InstanceType": identity.instance_type,
        "Region": identity.region or config.cloudwatch.region,
        "ClusterName": identity.cluster,
        "AutoScalingGroupName": identity.auto_scaling_group,
        **config.cloudwatch.extra_dimensions,
    }
    return {name: clean(value) for name, value in known.items() if value}


def _placed(
    parts: Iterable[Part], namespace: str, known: Mapping[str, str], region: str, period: int
) -> Iterator[dict[str, Any]]:
    """A heading for each dimension set, and a graph for each of its metrics, three to a line."""
    y = 0
    for part in parts:
        yield {
            "type": "text",
            "x": 0,
            "y": y,
            "width": _COLUMNS,
            "height": _HEADING,
            "properties": {"markdown": _heading(part, known)},
        }
        y += _HEADING
        for number, name in enumerate(part.metrics):
            metric = _METRICS[name]
            yield {
                "type": "metric",
                "x": number * _WIDTH % _COLUMNS,
                "y": y + number * _WIDTH // _COLUMNS * _HEIGHT,
                "width": _WIDTH,
                "height": _HEIGHT,
                "properties": {
                    "title": name,
                    "view": "timeSeries",
                    "region": region,
                    "period": period,
                    "yAxis": _axis(metric),
                    "metrics": list(_series(metric, part.dimensions, namespace, known, period)),
                },
            }
        y += math.ceil(len(part.metrics) * _WIDTH / _COLUMNS) * _HEIGHT


def _heading(part: Part, known: Mapping[str, str]) -> str:
    shown = (
        f"{name} {known[name]}" if name in known else f"every {name}" for name in part.dimensions
    )
    return f"## {', '.join(shown) or 'all machines together'}"


def _axis(metric: CloudWatchMetric) -> dict[str, Any]:
    left: dict[str, Any] = {"min": 0, "label": metric.unit, "showUnits": False}
    if metric.unit == "Percent":
        left["max"] = 100
    return {"left": left}


def _statistics(metric: CloudWatchMetric) -> tuple[str, ...]:
    """What to show of a metric: events are summed, levels have an average and an extreme."""
    if metric.pooling is Pooling.DELTA:
        return ("Sum",)
    if metric.pooling is Pooling.HEARTBEAT:
        return ("Minimum",)
    if metric.unit == "Seconds":
        return ("p50", "p99")
    if metric.pooling is Pooling.MACHINE:
        return ("Average",)
    return ("Average", "Maximum")


def _series(
    metric: CloudWatchMetric,
    dimensions: tuple[str, ...],
    namespace: str,
    known: Mapping[str, str],
    period: int,
) -> Iterator[list[Any]]:
    """The metric by name where all dimensions are known; else a search, which also finds machines
    that come later."""
    for number, statistic in enumerate(_statistics(metric)):
        if all(name in known for name in dimensions):
            pairs = [text for name in dimensions for text in (name, known[name])]
            yield [namespace, metric.name, *pairs, {"stat": statistic, "label": statistic}]
        else:
            search = _search(metric.name, dimensions, namespace, known)
            yield [
                {
                    "expression": f"SEARCH('{search}', '{statistic}', {period})",
                    "id": f"e{number}",
                    "label": f"{statistic} {_label(dimensions, known)}",
                }
            ]


def _search(
    metric: str, dimensions: Iterable[str], namespace: str, known: Mapping[str, str]
) -> str:
    """What SEARCH looks for. A value that cannot be written in it is left out: the names of the
    dimensions still choose the set."""
    schema = ",".join(_name(each) for each in (namespace, *dimensions))
    values = [
        f'{_name(name)}="{known[name]}"'
        for name in dimensions
        if name in known and not _UNQUOTABLE.search(known[name])
    ]
    return " ".join([f"{{{schema}}}", f'MetricName="{metric}"', *values])


def _label(dimensions: Iterable[str], known: Mapping[str, str]) -> str:
    return " ".join(f"${{PROP('Dim.{name}')}}" for name in dimensions if name not in known)


def _name(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def _check(widgets: list[dict[str, Any]]) -> None:
    metrics = sum(len(widget["properties"].get("metrics", ())) for widget in widgets)
    problems = [
        f"cloudwatch.dimension_sets: the dashboard would have more {what} than the {most} that "
        f"CloudWatch takes: make it of fewer sets or metrics (got {number})"
        for what, number, most in (
            ("widgets", len(widgets), MOST_WIDGETS),
            ("metrics", metrics, MOST_METRICS),
        )
        if number > most
    ]
    if problems:
        raise ConfigError(problems)
