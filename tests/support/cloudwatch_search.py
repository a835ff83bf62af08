"""Find the metrics that a widget shows: by name, or by CloudWatch's SEARCH.

SEARCH follows the CloudWatch user guide ("search expression syntax"): a schema of namespace and all
dimension names, then terms NAME="VALUE" that must all match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A CloudWatch metric."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


def published(requests: Iterable[Mapping[str, Any]]) -> set[Metric]:
    """Return the metrics in requests of PutMetricData."""
    return {
        Metric(
            request["Namespace"],
            datum["MetricName"],
            frozenset((each["Name"], each["Value"]) for each in datum.get("Dimensions", [])),
        )
        for request in requests
        for datum in request["MetricData"]
    }


def named(row: Sequence[Any]) -> Metric:
    """Return the metric that a widget names."""
    namespace, name, *pairs = (each for each in row if isinstance(each, str))
    return Metric(namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))


def found(expression: str, among: Iterable[Metric]) -> set[Metric]:
    """Return the metrics that a search finds."""
    match = re.fullmatch(r"SEARCH\('\{(.*?)\} (.*)', '\w+', \d+\)", expression)
    assert match, expression
    namespace, *names = (
        quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|([^,"]+)', match[1])
    )
    terms = {
        quoted or plain: value
        for quoted, plain, value in re.findall(r'(?:"([^"]+)"|(\w+))="([^"]*)"', match[2])
    }
    name = terms.pop("MetricName")
    return {
        metric
        for metric in among
        if (metric.namespace, metric.name) == (namespace, name)
        and {each for each, _ in metric.dimensions} == set(names)
        and terms.items() <= dict(metric.dimensions).items()
    }
