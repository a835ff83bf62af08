"""The committed dashboards are what the source makes, and are such as Grafana and people like."""

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
"""Grafana has a shade of each for light and for dark."""

COUNTERS = re.compile(r"\b\w+_(?:total|sum|count)\{")


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key and value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walked(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walked(inner)


def expressions(document: dict[str, Any]) -> Iterator[tuple[Panel, str]]:
    """Each PromQL query, and its panel."""
    for panel in dashboards.panels(document):
        for target in panel.targets:
            if "expr" in target:
                yield panel, target["expr"]


def test_the_committed_dashboards_are_what_the_source_makes() -> None:
    """Nobody has changed one by hand, and none is left over (`make golden` writes them)."""
    made = documents()
    assert {path.name for path in ALL} == made.keys()
    for path in ALL:
        assert path.read_text() == made[path.name], f"{path.name}: make golden, then read the diff"


def test_grafana_knows_the_form(tmp_path: Path) -> None:
    """Grafana's own types of dashboards take every one, with no key that they do not know."""
    if grafana_schema.missing():
        missing(grafana_schema.missing())
    texts = {path.stem: path.read_text() for path in ALL}
    assert grafana_schema.complaints(tmp_path, texts) == ""


def test_a_wrong_form_is_found(tmp_path: Path) -> None:
    """The types that this relies on refuse a wrong value and an unknown key."""
    if grafana_schema.missing():
        missing(grafana_schema.missing())
    wrong, unknown = (json.loads(ALL[0].read_text()) for _ in range(2))
    wrong["panels"][0]["gridPos"]["w"] = "wide"
    unknown["timezones"] = []
    texts = {"wrong": json.dumps(wrong), "unknown": json.dumps(unknown)}
    said = grafana_schema.complaints(tmp_path, texts)
    assert "'string' is not assignable to type 'number'" in said
    assert "timezones" in said


@each_dashboard
def test_panels_stand_on_the_grid(path: Path) -> None:
    """Ids are unique, no panel overlaps another or leaves the 24 columns, and none leaves a hole
    in its line."""
    document = dashboards.load(path)
    ids = [each["id"] for each in document["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    tall = max(y for _, y in taken) + 1
    assert len(taken) == 24 * tall, "a hole"


@each_dashboard
def test_panels_explain_themselves(path: Path) -> None:
    """Each has a title of its own, a sentence, a unit and a query; each variable a sentence."""
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
    """No data source is named: a dashboard works wherever it is imported."""
    document = dashboards.load(path)
    kind = dashboards.source(document)
    for key, value in walked(document):
        if key == "datasource" and isinstance(value, dict):
            assert value == {"type": kind, "uid": "${datasource}"}


@each_dashboard
def test_colors_are_the_themes_own(path: Path) -> None:
    """Colors are names that Grafana shades for light and for dark; no text is colored by hand."""
    document = dashboards.load(path)
    for panel in dashboards.panels(document):
        # The SDK writes down Grafana's own default, which shows only where there are exemplars.
        panel.document.get("options", {}).pop("exemplars", None)
    for key, value in walked(document):
        if key == "color" and isinstance(value, str):
            assert value in NAMED_COLORS
        assert not (
            isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{3,8}|rgba?\(.*\)", value)
        )


@each_dashboard
def test_what_is_shown_first_is_sensible(path: Path) -> None:
    """A dashboard opens on the last hours, and asks no more often than new values come."""
    document = dashboards.load(path)
    assert document["time"] in ({"from": "now-1h", "to": "now"}, {"from": "now-3h", "to": "now"})
    assert document["refresh"] == ("30s" if dashboards.source(document) == "prometheus" else "1m")
    assert document["uid"].startswith("neuron-exporter")
    (link,) = document["links"]
    assert (link["type"], link["tags"]) == ("dashboards", document["tags"])
    assert link["includeVars"]
    assert link["keepTime"]


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_windows_follow_the_scrape_interval(path: Path) -> None:
    """No window is a fixed time: it is that of Grafana, or all that is shown; and no counter is
    shown raw, save what counts since a start."""
    since_the_start = {"Restarts", "Requests that wait", "Left out"}
    for panel, expression in expressions(dashboards.load(path)):
        for window in re.findall(r"\[(.*?)\]", expression):
            assert window in ("$__rate_interval", "$__range"), panel.title
        assert not re.search(r"rate\([^)]*\[\$__range\]", expression), panel.title
        if panel.title not in since_the_start:
            outside = re.sub(r"\b(?:rate|increase)\([^()]*\)", "", expression)
            assert not COUNTERS.search(outside), panel.title


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_every_query_is_about_what_was_chosen(path: Path) -> None:
    """Each selector has the cluster and the job: names of AWS's script are also those of others."""
    for panel, expression in expressions(dashboards.load(path)):
        for selector in re.findall(r"\w\{(.*?)\}", expression):
            assert selector.startswith('cluster=~"$cluster", job=~"$job"'), panel.title


def test_links_lead_somewhere() -> None:
    """A link out of a table opens a dashboard that there is, and gives a variable that it has."""
    by_uid = {document["uid"]: document for document in map(dashboards.load, ALL)}
    found = 0
    for document in by_uid.values():
        for key, value in walked(document):
            if key == "url" and isinstance(value, str) and value.startswith("/d/"):
                uid, _, query = value.removeprefix("/d/").partition("?")
                names = {each["name"] for each in dashboards.variables(by_uid[uid])}
                given = set(re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", query))
                assert {first or second for first, second in given} <= names
                found += 1
    assert found
