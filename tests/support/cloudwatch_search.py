"""Which of the published metrics a dashboard shows: by name, and by CloudWatch's SEARCH.

SEARCH as the CloudWatch user guide has it ("search expression syntax"): a schema of namespace and
all dimension names, then terms NAME="VALUE" that must all be so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A metric of CloudWatch."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


def published(requests: Iterable[Mapping[str, Any]]) -> set[Metric]:
    """What requests of PutMetricData have."""
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
    """A metric that a widget names."""
    namespace, name, *pairs = (each for each in row if isinstance(each, str))
    return Metric(namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))


def found(expression: str, among: Iterable[Metric]) -> set[Metric]:
    """What a search finds."""
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
