"""Generate a CloudWatch dashboard with exactly the series that a configuration publishes.

The format is "Dashboard Body Structure and Syntax" of the CloudWatch API reference. The limits are
its quotas: 500 widgets per dashboard, 500 metrics per widget, 2,500 metrics per dashboard.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.config.schema import Config
from neuron_exporter.generate.dry_run import PublishedSet, dry_run
from neuron_exporter.generate.options import Configure, check_instance_id, choose_type
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import CloudWatchMetric, Pooling
from neuron_exporter.sinks.cloudwatch.dimensions import sanitize_dimension_value

MAX_WIDGETS = 500
MAX_METRICS = 2500
"""Limits of a dashboard; our widgets have far fewer than 500 metrics."""

_COLUMNS, _WIDTH, _HEIGHT, _HEADING = 24, 8, 6, 2

_METRICS: Mapping[str, CloudWatchMetric] = {
    metric.name: metric for row in CATALOGUE for metric in row.cloudwatch
}

Widget = dict[str, Any]

_PLAIN = re.compile(r"[A-Za-z0-9_/]+")
_UNQUOTABLE = re.compile(r"[\"'\\]")


def cloudwatch_dashboard(
    configure: Configure,
    *,
    instance_type: str | None = None,
    stream: str | None = None,
    instance_id: str | None = None,
    region: str | None = None,
) -> dict[str, Any]:
    """Return the body of a dashboard for PutDashboard.

    Args:
        instance_type: the machine to simulate; None for the configured or default one.
        stream: file with recorded reports, in place of a simulated machine.
        instance_id: the machine to show; None for all machines.
        region: region of the metrics; None for the configured one.

    Raises:
        ConfigError: the configuration or an option is invalid, nothing is published, the region is
            unknown, or the dashboard would exceed CloudWatch's limits.
    """
    config = configure(()).config
    cloudwatch = config.cloudwatch
    name = choose_type(config, instance_type, stream)
    if not cloudwatch.enabled:
        raise ConfigError(["cloudwatch.enabled: must be true for a dashboard (got False)"])
    check_instance_id(instance_id)
    region = region or cloudwatch.region or config.identity.region
    if region is None:
        problem = "--region: must be set (or cloudwatch.region): every graph needs a region"
        raise ConfigError([problem])
    result = dry_run(configure, instance_type=name, stream=stream)
    known = _known_dimensions(config, instance_id)
    period = max(60, 60 * math.ceil(cloudwatch.flush_interval / 60))
    widgets = list(_lay_out(result.sets, cloudwatch.namespace, known, region, period))
    _check_limits(widgets)
    return {"start": "-PT3H", "periodOverride": "inherit", "widgets": widgets}


def _known_dimensions(config: Config, instance_id: str | None) -> dict[str, str]:
    """Return the dimensions that have one value wherever this configuration runs, and those of the
    selected machine."""
    identity = config.identity
    known = {
        "InstanceId": instance_id or identity.instance_id,
        "InstanceType": identity.instance_type,
        "Region": identity.region or config.cloudwatch.region,
        "ClusterName": identity.cluster,
        "AutoScalingGroupName": identity.auto_scaling_group,
        **config.cloudwatch.extra_dimensions,
    }
    return {name: sanitize_dimension_value(value) for name, value in known.items() if value}


def _lay_out(
    sets: Iterable[PublishedSet], namespace: str, known: Mapping[str, str], region: str, period: int
) -> Iterator[Widget]:
    """Yield a heading for each dimension set and a graph for each of its metrics, three per row."""
    y = 0
    for published in sets:
        yield _widget("text", 0, y, _COLUMNS, _HEADING, markdown=_heading(published, known))
        y += _HEADING
        for number, name in enumerate(published.metrics):
            metric = _METRICS[name]
            yield _widget(
                "metric",
                number * _WIDTH % _COLUMNS,
                y + number * _WIDTH // _COLUMNS * _HEIGHT,
                _WIDTH,
                _HEIGHT,
                title=name,
                view="timeSeries",
                region=region,
                period=period,
                yAxis=_axis(metric),
                metrics=list(_series(metric, published.dimensions, namespace, known, period)),
            )
        y += math.ceil(len(published.metrics) * _WIDTH / _COLUMNS) * _HEIGHT


def _widget(kind: str, x: int, y: int, width: int, height: int, **properties: Any) -> Widget:
    place = {"x": x, "y": y, "width": width, "height": height}
    return {"type": kind, **place, "properties": properties}


def _heading(published: PublishedSet, known: Mapping[str, str]) -> str:
    shown = (
        f"{name} {known[name]}" if name in known else f"every {name}"
        for name in published.dimensions
    )
    return f"## {', '.join(shown) or 'all machines together'}"


def _axis(metric: CloudWatchMetric) -> dict[str, Any]:
    left: dict[str, Any] = {"min": 0, "label": metric.unit, "showUnits": False}
    if metric.unit == "Percent":
        left["max"] = 100
    return {"left": left}


def _statistics(metric: CloudWatchMetric) -> tuple[str, ...]:
    """Return the statistics to show: sums of events, average and maximum of levels."""
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
    """Yield the metric by name if all dimensions are known; otherwise a search, which also finds
    machines that are added later."""
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
    """Return the query for SEARCH. A value that cannot be quoted is left out: the names of the
    dimensions still select the set."""
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


def _check_limits(widgets: list[Widget]) -> None:
    metrics = sum(len(widget["properties"].get("metrics", ())) for widget in widgets)
    counts = (("widgets", len(widgets), MAX_WIDGETS), ("metrics", metrics, MAX_METRICS))
    problems = [
        f"cloudwatch.dimension_sets: the dashboard would have more than {maximum} {kind}, which is "
        f"CloudWatch's limit: publish fewer sets or metrics (got {number})"
        for kind, number, maximum in counts
        if number > maximum
    ]
    if problems:
        raise ConfigError(problems)
