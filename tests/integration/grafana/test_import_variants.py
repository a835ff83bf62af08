"""The dashboards for import by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from grafana.build import documents
from tests.support import dashboards
from tests.support.paths import ROOT

FOLDER = ROOT / "grafana" / "import"


def test_committed_files_are_current() -> None:
    generated = {name: text for name, text in documents().items() if name.startswith("import/")}
    committed = {f"import/{path.name}": path.read_text() for path in FOLDER.glob("*.json")}
    assert committed == generated, "run make golden and review the diff"


@pytest.mark.parametrize(
    "path", sorted(dashboards.FOLDER.glob("*.json")), ids=lambda path: path.stem
)
def test_imported_dashboard(path: Path) -> None:
    """The form asks for one data source, and the import is the dashboard with this source."""
    text = (FOLDER / path.name).read_text()
    (asked,) = json.loads(text)["__inputs"]
    dashboard = dashboards.load(path)
    assert asked["type"] == "datasource"
    assert asked["pluginId"] == dashboards.datasource_kind(dashboard)
    assert set(re.findall(r"\$\{(DS_\w+)\}", text)) == {asked["name"]}

    imported = json.loads(text.replace(f"${{{asked['name']}}}", "chosen"))
    imported = {key: value for key, value in imported.items() if not key.startswith("__")}
    (variable,) = (each for each in dashboards.variables(imported) if each["type"] == "datasource")
    assert variable.pop("current")["value"] == "chosen"
    assert imported.pop("id") is None
    assert imported == dashboard
    used = {panel.document["type"] for panel in dashboards.panels(dashboard)}
    required = {each["id"] for each in json.loads(text)["__requires"] if each["type"] == "panel"}
    assert used == required
