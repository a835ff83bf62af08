"""The CloudWatch data source, over what exporters have published to an endpoint of the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.alarm_evaluator import Points, PublishedValues, SeriesKey

PERIOD = 60
"""Seconds between two points."""

Frame = dict[str, Any]


class CloudWatchSource:
    """Values in requests of PutMetricData, which a test's endpoint adds to."""

    def __init__(self, requests: Sequence[Mapping[str, Any]] = ()) -> None:
        self._requests = requests

    def resource(self, name: str, parameters: Mapping[str, Sequence[str]]) -> list[Any] | None:
        """Return what variables offer, None for an unknown resource."""
        if name == "regions":
            return [{"value": {"name": "us-east-1"}}]
        if name != "dimension-values":
            return None
        filters = json.loads(parameters["dimensionFilters"][0])
        (key,) = parameters["dimensionKey"]
        published = PublishedValues([*self._requests]).series
        found = {
            value
            for series in published
            if series.name in parameters["metricName"] and _matches(series, filters)
            for dimension, value in series.dimensions
            if dimension == key
        }
        return [{"value": value} for value in sorted(found)]

    def queries(
        self, documents: Iterable[Mapping[str, Any]], start: float, end: float
    ) -> dict[str, Any]:
        """Return the results of a panel's queries by their letter."""
        published = PublishedValues([*self._requests])
        grid = range(int(start) // PERIOD * PERIOD, int(end) // PERIOD * PERIOD, PERIOD)
        by_id: dict[str, list[Points]] = {}
        results = {}
        for each in documents:
            if each.get("expression"):
                frames = [_frame(each, each["label"], _combined(each["expression"], by_id))]
            else:
                frames = []
                for series in _selected(published, each):
                    points = published.points(series, each["statistic"], grid)
                    by_id.setdefault(each.get("id") or "", []).append(points)
                    frames.append(_frame(each, _label(each["label"], series), points))
            results[each["refId"]] = {"status": 200, "frames": [] if each.get("hide") else frames}
        return results


def _selected(published: PublishedValues, query: Mapping[str, Any]) -> list[SeriesKey]:
    return sorted(
        (
            each
            for each in published.series
            if each.namespace == query["namespace"]
            and each.name == query["metricName"]
            and {name for name, _ in each.dimensions} == query["dimensions"].keys()
            and _matches(each, query["dimensions"])
        ),
        key=lambda series: sorted(series.dimensions),
    )


def _matches(series: SeriesKey, filters: Mapping[str, Any]) -> bool:
    """Return whether a series has one of the values of each dimension; * stands for all."""
    values = dict(series.dimensions)
    return all(
        "*" in wanted or values.get(name) in ([wanted] if isinstance(wanted, str) else wanted)
        for name, wanted in filters.items()
    )


def _combined(expression: str, by_id: Mapping[str, list[Points]]) -> Points:
    """Return SUM(id) or AVG(id), for each period with a value."""
    function, found = re.fullmatch(r"(SUM|AVG)\((\w+)\)", expression).groups()  # type: ignore[union-attr]
    every: dict[int, list[float]] = {}
    for points in by_id.get(found, []):
        for at, value in points.items():
            every.setdefault(at, []).append(value)
    return {
        at: sum(values) / (len(values) if function == "AVG" else 1) for at, values in every.items()
    }


def _label(template: str, series: SeriesKey) -> str:
    """Return a dynamic label, in which ${PROP('Dim.NAME')} is the value of a dimension."""
    values = dict(series.dimensions)
    return re.sub(r"\$\{PROP\('Dim\.(\w+)'\)\}", lambda found: values[found[1]], template)


def _frame(query: Mapping[str, Any], label: str, points: Points) -> Frame:
    ordered = sorted(points.items())
    return {
        "schema": {
            "refId": query["refId"],
            "name": label,
            "meta": {"type": "timeseries-multi", "custom": {"period": PERIOD}},
            "fields": [
                {"name": "Time", "type": "time", "typeInfo": {"frame": "time.Time"}},
                {
                    "name": "Value",
                    "type": "number",
                    "typeInfo": {"frame": "float64", "nullable": True},
                    "labels": {},
                    "config": {"displayNameFromDS": label},
                },
            ],
        },
        "data": {
            "values": [[at * 1000 for at, _ in ordered], [value for _, value in ordered]],
        },
    }
