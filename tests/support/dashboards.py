"""Dashboards as Grafana reads them: panels, variables, and queries with everything put in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import ROOT
from tests.support.servers import Prometheus

FOLDER = ROOT / "grafana" / "dashboards"

Values = Mapping[str, str]
"""What stands for each variable in a query."""


class Panel(NamedTuple):
    """A panel, and whether its queries are asked for now or over time."""

    title: str
    document: dict[str, Any]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Its queries."""
        return list(self.document.get("targets", []))


def files(kind: str) -> list[Path]:
    """The dashboards that ask a data source of this kind."""
    return [path for path in sorted(FOLDER.glob("*.json")) if source(load(path)) == kind]


def load(path: Path) -> dict[str, Any]:
    """One dashboard."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def source(document: Mapping[str, Any]) -> str:
    """The kind of data source that a dashboard asks."""
    (found,) = (each["query"] for each in variables(document) if each["type"] == "datasource")
    return str(found)


def variables(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its variables, in order."""
    return list(document["templating"]["list"])


def panels(document: Mapping[str, Any]) -> Iterator[Panel]:
    """Its panels, without headings."""
    for each in document["panels"]:
        if each["type"] != "row":
            yield Panel(each["title"], each)


def resolve(text: str, values: Values) -> str:
    """A query as Grafana sends it; the $1 of a regular expression is no variable.

    Raises:
        KeyError: it names a variable that there is not.
    """
    return re.sub(
        r"\$(?:\{([a-z_]\w*)(?::\w+)?\}|([a-z_]\w*))",
        lambda found: values[found[1] or found[2]],
        text,
    )


def builtin(scrape: float, shown: float) -> dict[str, str]:
    """What Grafana itself puts in, for a data source with this scrape interval and a panel that
    shows this much time (seconds): `$__rate_interval` is the larger of four scrapes and one scrape
    more than a step, by its documentation."""
    step = max(scrape, 1.0)
    window = max(step + scrape, 4 * scrape)
    return {
        "__rate_interval": f"{window * 1000:.0f}ms",
        "__interval": f"{step * 1000:.0f}ms",
        "__range": f"{shown:.0f}s",
    }


def asked(document: Mapping[str, Any], prometheus: Prometheus, known: Values) -> dict[str, str]:
    """The value of each variable of a dashboard that has just been opened; those in `known` were
    chosen by hand."""
    values = dict(known)
    for each in variables(document):
        name = each["name"]
        if name in known:
            continue
        if each["type"] == "query":
            values[name] = _default(each, offered(each, prometheus, values))
        elif each["type"] == "custom":
            values[name] = each["current"]["value"]
        elif each["type"] == "textbox":
            values[name] = each["query"]
    return values


def offered(variable: Mapping[str, Any], prometheus: Prometheus, values: Values) -> list[str]:
    """What there is to choose."""
    text = resolve(variable["query"]["query"], values)
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
    assert found, f"{variable['name']}: {text}"
    return prometheus.label_values(found[2], found[1])


def _default(variable: Mapping[str, Any], offers: list[str]) -> str:
    """What is chosen at first: all, or the first."""
    if not variable["includeAll"]:
        return offers[0] if offers else ""
    if "allValue" in variable:
        return str(variable["allValue"])
    return f"({'|'.join(offers)})"
