"""Dashboards as Grafana interprets them: panels, variables, and queries with substituted values."""

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
"""Values of the variables in a query, by variable."""


class Panel(NamedTuple):
    """Panel with its JSON document."""

    title: str
    document: dict[str, Any]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Queries of the panel."""
        return list(self.document.get("targets", []))

    @property
    def headings(self) -> dict[str, str]:
        """Headings of the values in a table, by the letter of their query."""
        names = (
            each["options"]["renameByName"].items()
            for each in self.document.get("transformations", ())
            if each["id"] == "organize"
        )
        return {
            field.removeprefix("Value #"): heading
            for renamed in names
            for field, heading in renamed
            if field.startswith("Value #")
        }


def files(kind: str) -> list[Path]:
    """Return the dashboards for a kind of data source."""
    return [path for path in sorted(FOLDER.glob("*.json")) if datasource_kind(load(path)) == kind]


def load(path: Path) -> dict[str, Any]:
    """Read a dashboard."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def datasource_kind(document: Mapping[str, Any]) -> str:
    """Return the kind of a dashboard's data source."""
    (found,) = (each["query"] for each in variables(document) if each["type"] == "datasource")
    return str(found)


def variables(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the variables in order."""
    return list(document["templating"]["list"])


def panels(document: Mapping[str, Any]) -> Iterator[Panel]:
    """Return the panels without row headings, those of collapsed rows included."""
    for each in document["panels"]:
        if each["type"] == "row":
            yield from panels({"panels": each.get("panels", [])})
        else:
            yield Panel(each["title"], each)


def find_panel(document: Mapping[str, Any], title: str) -> Panel:
    """Return the panel with this title."""
    (panel,) = (each for each in panels(document) if each.title == title)
    return panel


def resolve(text: str, values: Values) -> str:
    """Substitute the variables in a query; $1 in a regular expression is not a variable.

    Raises:
        KeyError: a variable is not defined.
    """
    return re.sub(
        r"\$(?:\{([a-z_]\w*)(?::\w+)?\}|([a-z_]\w*))",
        lambda found: values[found[1] or found[2]],
        text,
    )


def initial_values(
    document: Mapping[str, Any], prometheus: Prometheus, chosen: Values
) -> dict[str, str]:
    """Return the variables' values when a dashboard is opened, with some `chosen` by the user."""
    values = dict(chosen)
    for each in variables(document):
        name = each["name"]
        if name in chosen:
            continue
        if each["type"] == "query":
            values[name] = _default(each, variable_options(each, prometheus, values))
        elif each["type"] == "custom":
            values[name] = each["current"]["value"]
        elif each["type"] == "textbox":
            values[name] = each["query"]
    return values


def variable_options(
    variable: Mapping[str, Any], prometheus: Prometheus, values: Values
) -> list[str]:
    """Return the values that a query variable offers."""
    text = resolve(variable["query"]["query"], values)
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
    assert found, f"{variable['name']}: {text}"
    return prometheus.label_values(found[2], found[1])


def _default(variable: Mapping[str, Any], options: list[str]) -> str:
    """Return the value that is selected at first: all, or the first option."""
    if not variable["includeAll"]:
        return options[0] if options else ""
    if "allValue" in variable:
        return str(variable["allValue"])
    return f"({'|'.join(options)})"
