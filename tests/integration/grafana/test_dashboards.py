"""The committed dashboards: generated, valid, described, and correct in their queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grafana.build import documents
from tests.conftest import missing
from tests.support import dashboards, grafana_schema
from tests.support.dashboards import FOLDER, Panel

ALL = sorted(FOLDER.glob("*.json"))
each_dashboard = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)

NAMED_COLORS = {"green", "red", "orange", "blue"}
"""Grafana adapts them to its light and dark theme."""

COUNTERS = re.compile(r"\b\w+_(?:total|sum|count)\{")


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key and value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def expressions(document: dict[str, Any]) -> Iterator[tuple[Panel, str]]:
    """Yield each PromQL query with its panel."""
    for panel in dashboards.panels(document):
        for target in panel.targets:
            if "expr" in target:
                yield panel, target["expr"]


def test_committed_dashboards_are_current() -> None:
    generated = documents()
    assert {path.name for path in ALL} == generated.keys()
    for path in ALL:
        assert path.read_text() == generated[path.name], (
            f"{path.name}: run make golden and review the diff"
        )


def test_dashboards_match_grafanas_schema(tmp_path: Path) -> None:
    if grafana_schema.missing():
        missing(grafana_schema.missing())
    texts = {path.stem: path.read_text() for path in ALL}
    assert grafana_schema.errors(tmp_path, texts) == ""


def test_schema_rejects_wrong_values_and_unknown_keys(tmp_path: Path) -> None:
    if grafana_schema.missing():
        missing(grafana_schema.missing())
    wrong, unknown = (json.loads(ALL[0].read_text()) for _ in range(2))
    wrong["panels"][0]["gridPos"]["w"] = "wide"
    unknown["timezones"] = []
    texts = {"wrong": json.dumps(wrong), "unknown": json.dumps(unknown)}
    found = grafana_schema.errors(tmp_path, texts)
    assert "'string' is not assignable to type 'number'" in found
    assert "timezones" in found


@each_dashboard
def test_grid(path: Path) -> None:
    """Ids are unique, and panels fill the 24 columns without overlaps or gaps."""
    document = dashboards.load(path)
    ids = [each["id"] for each in document["panels"]]
    assert len(ids) == len(set(ids))
    occupied: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & occupied, panel["title"]
        assert position["x"] + position["w"] <= 24, panel["title"]
        occupied |= cells
    height = max(y for _, y in occupied) + 1
    assert len(occupied) == 24 * height


@each_dashboard
def test_panels_and_variables_are_described(path: Path) -> None:
    """Each panel has a unique title, a sentence, a unit and a query; each variable a sentence."""
    document = dashboards.load(path)
    titles = [panel.title for panel in dashboards.panels(document)]
    assert len(titles) == len(set(titles))
    for panel in dashboards.panels(document):
        assert panel.document["description"].endswith("."), panel.title
        assert panel.document["fieldConfig"]["defaults"]["unit"], panel.title
        assert panel.targets, panel.title
    assert document["description"].endswith(".")
    for variable in dashboards.variables(document):
        assert variable["description"].endswith("."), variable["name"]
        assert variable["label"], variable["name"]


@each_dashboard
def test_the_data_source_is_a_variable(path: Path) -> None:
    document = dashboards.load(path)
    kind = dashboards.datasource_kind(document)
    for key, value in walk(document):
        if key == "datasource" and isinstance(value, dict):
            assert value == {"type": kind, "uid": "${datasource}"}


@each_dashboard
def test_colors_are_names(path: Path) -> None:
    document = dashboards.load(path)
    for panel in dashboards.panels(document):
        # The SDK writes Grafana's default color of exemplars.
        panel.document.get("options", {}).pop("exemplars", None)
    for key, value in walk(document):
        if key == "color" and isinstance(value, str):
            assert value in NAMED_COLORS
        assert not (
            isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{3,8}|rgba?\(.*\)", value)
        )


@each_dashboard
def test_time_range_refresh_and_links(path: Path) -> None:
    document = dashboards.load(path)
    assert document["time"] in ({"from": "now-1h", "to": "now"}, {"from": "now-3h", "to": "now"})
    assert document["refresh"] == (
        "30s" if dashboards.datasource_kind(document) == "prometheus" else "1m"
    )
    assert document["uid"].startswith("neuron-exporter")
    (link,) = document["links"]
    assert (link["type"], link["tags"]) == ("dashboards", document["tags"])
    assert link["includeVars"]
    assert link["keepTime"]


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_windows_follow_the_scrape_interval(path: Path) -> None:
    totals = {"Restarts", "Backlog", "Dropped and unknown"}
    for panel, expression in expressions(dashboards.load(path)):
        for window in re.findall(r"\[(.*?)\]", expression):
            assert window in ("$__rate_interval", "$__range"), panel.title
        assert not re.search(r"rate\([^)]*\[\$__range\]", expression), panel.title
        if panel.title not in totals:
            outside = re.sub(r"\b(?:rate|increase)\([^()]*\)", "", expression)
            assert not COUNTERS.search(outside), panel.title


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_every_selector_has_cluster_and_job(path: Path) -> None:
    """Other programs, such as AWS's script, use the same metric names."""
    for panel, expression in expressions(dashboards.load(path)):
        for selector in re.findall(r"\w\{(.*?)\}", expression):
            assert selector.startswith('cluster=~"$cluster", job=~"$job"'), panel.title


def test_links_open_existing_dashboards_with_their_variables() -> None:
    by_uid = {document["uid"]: document for document in map(dashboards.load, ALL)}
    links = 0
    for document in by_uid.values():
        for key, value in walk(document):
            if key == "url" and isinstance(value, str) and value.startswith("/d/"):
                uid, _, query = value.removeprefix("/d/").partition("?")
                names = {each["name"] for each in dashboards.variables(by_uid[uid])}
                found = set(re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", query))
                assert {first or second for first, second in found} <= names
                links += 1
    assert links
