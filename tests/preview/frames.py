"""Answers of Prometheus as the data frames that Grafana's server sends to its front end."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.support.dashboards import resolve
from tests.support.grafana_intervals import Interval, builtin_values, interval

Frame = dict[str, Any]


class QueryRefused(Exception):
    """Prometheus refused a query."""


class Query(NamedTuple):
    """A query that the front end sent, with its times in seconds."""

    document: Mapping[str, Any]
    start: float
    end: float
    interval: Interval

    @property
    def expression(self) -> str:
        """PromQL without Grafana's built-in variables.

        Raises:
            QueryRefused: a variable is not defined.
        """
        values = builtin_values(self.interval, self.end - self.start)
        try:
            return resolve(self.document["expr"], values)
        except KeyError as error:
            raise QueryRefused(f"${error.args[0]} is not defined") from error


class PrometheusSource:
    """Prometheus behind Grafana, with what it refused and how long it took."""

    def __init__(self, url: str, scrape_interval: float) -> None:
        self.url = url
        self.refused: list[str] = []
        self.seconds: dict[str, float] = {}
        """The longest time of each query."""
        self.scrape_interval = scrape_interval

    def query(self, document: Mapping[str, Any], start: float, end: float) -> Frame:
        """Return the result of one query of a panel."""
        found = interval(
            end - start,
            float(document.get("maxDataPoints") or 100),
            self.scrape_interval,
            str(document.get("interval") or ""),
        )
        query = Query(document, start, end, found)
        try:
            frames = [frame for kind in _kinds(document) for frame in self._frames(query, kind)]
        except QueryRefused as error:
            self.refused.append(f"{document['expr']}: {error}")
            return {"status": 400, "error": str(error), "errorSource": "downstream", "frames": []}
        return {"status": 200, "frames": frames}

    def resource(self, path: str, parameters: str, body: bytes) -> Any:
        """Return an answer of Prometheus' API to the data source, such as the values of a label."""
        url = f"{self.url}/{path}?{parameters}"
        try:
            with urllib.request.urlopen(url, body or None, timeout=120) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                self.refused.append(f"{path}: {error.read().decode()}")
                return None

    def _frames(self, query: Query, kind: str) -> Iterator[Frame]:
        step = query.interval.step
        if kind == "range":
            # Grafana aligns both ends to the step.
            start, end = (math.floor(each / step) * step for each in (query.start, query.end))
            answer = self._ask(query.expression, "query_range", start=start, end=end, step=step)
        else:
            answer = self._ask(query.expression, "query", time=query.end)
        if answer["resultType"] == "scalar":
            answer["result"] = [{"metric": {}, "value": answer["result"]}]
        if not answer["result"]:
            yield _frame(query, kind, [], [])
        for series in answer["result"]:
            points = series.get("values") or [series["value"]]
            yield _series_frame(query, kind, series["metric"], points)

    def _ask(self, expression: str, path: str, **parameters: float) -> dict[str, Any]:
        data = urllib.parse.urlencode({"query": expression, **parameters}).encode()
        began = time.monotonic()
        try:
            with urllib.request.urlopen(  # noqa: S310 (loopback)
                f"{self.url}/api/v1/{path}", data, timeout=120
            ) as response:
                answer: dict[str, Any] = json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryRefused(json.load(error)["error"]) from error
        took = time.monotonic() - began
        self.seconds[expression] = max(took, self.seconds.get(expression, 0))
        return answer


def _kinds(document: Mapping[str, Any]) -> list[str]:
    return [kind for kind in ("range", "instant") if document.get(kind)] or ["range"]


def _series_frame(
    query: Query, kind: str, labels: Mapping[str, str], points: list[list[Any]]
) -> Frame:
    name = display_name(query, labels)
    values = [float(value) for _, value in points]
    special = {
        key: positions
        for key, matches in (
            ("NaN", math.isnan),
            ("Inf", lambda value: value == math.inf),
            ("NegInf", lambda value: value == -math.inf),
        )
        if (positions := [index for index, value in enumerate(values) if matches(value)])
    }
    fields = [
        {
            "name": "Time",
            "type": "time",
            "typeInfo": {"frame": "time.Time"},
            "config": {"interval": query.interval.step * 1000},
        },
        {
            "name": labels.get("__name__", "Value"),
            "type": "number",
            "typeInfo": {"frame": "float64"},
            "labels": labels,
            "config": {"displayNameFromDS": name} if name else {},
        },
    ]
    columns = [
        [int(moment * 1000) for moment, _ in points],
        [value if math.isfinite(value) else None for value in values],
    ]
    frame = _frame(query, kind, fields, columns)
    if special:
        # JSON has no such numbers.
        frame["data"]["entities"] = [None, special]
    return frame


def _frame(query: Query, kind: str, fields: list[Any], columns: list[Any]) -> Frame:
    is_range = kind == "range"
    return {
        "schema": {
            "refId": query.document["refId"],
            "meta": {
                "type": "timeseries-multi" if is_range else "numeric-multi",
                "typeVersion": [0, 1],
                "custom": {"resultType": "matrix" if is_range else "vector"},
                "executedQueryString": f"Expr: {query.expression}\nStep: {query.interval.step}s",
            },
            "fields": fields,
        },
        "data": {"values": columns},
    }


def display_name(query: Query, labels: Mapping[str, str]) -> str:
    """Return a series' name in legends; empty if the front end names it by its labels."""
    legend = query.document.get("legendFormat") or ""
    if legend == "__auto":
        return "" if labels else query.expression
    if legend:
        return re.sub(r"\{\{\s*(.+?)\s*\}\}", lambda found: labels.get(found[1], ""), legend)
    pairs = [f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__"]
    name = labels.get("__name__", "")
    if not name and not pairs:
        return query.expression
    return name + ("{" + ", ".join(pairs) + "}" if pairs or not name else "")
