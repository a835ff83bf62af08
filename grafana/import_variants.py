"""Dashboards for import by hand: Grafana's import form asks for the data source.

The values are those that Grafana writes when it exports a dashboard for other servers. Its import
replaces `${NAME}` by the chosen value, in every text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Document = dict[str, Any]

MIN_GRAFANA = "11.6.0"

_NAMES = {
    "barchart": "Bar chart",
    "cloudwatch": "CloudWatch",
    "timeseries": "Time series",
    "state-timeline": "State timeline",
}
"""Names of plugins that are not their id with a capital letter."""


def import_variant(dashboard: Mapping[str, Any]) -> Document:
    """Return a dashboard with an input that selects its data source."""
    document = copy.deepcopy(dict(dashboard))
    (variable,) = (each for each in document["templating"]["list"] if each["type"] == "datasource")
    kind = variable["query"]
    name = f"DS_{kind.upper()}"
    variable["current"] = {"selected": False, "text": f"${{{name}}}", "value": f"${{{name}}}"}
    panels = {each["type"] for each in _panels(document) if each["type"] != "row"}
    return {
        "__inputs": [
            {
                "name": name,
                "label": _name(kind),
                "description": variable["description"],
                "type": "datasource",
                "pluginId": kind,
                "pluginName": _name(kind),
            }
        ],
        "__elements": {},
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": MIN_GRAFANA},
            _requirement("datasource", kind, "1.0.0"),
            *(_requirement("panel", each, "") for each in sorted(panels)),
        ],
        "id": None,
        **document,
    }


def _panels(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in document["panels"]:
        yield each
        yield from each.get("panels", ())


def _requirement(kind: str, plugin: str, version: str) -> dict[str, str]:
    return {"type": kind, "id": plugin, "name": _name(plugin), "version": version}


def _name(plugin: str) -> str:
    return _NAMES.get(plugin, plugin.capitalize())
