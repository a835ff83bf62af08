"""The committed dashboards: generated, valid, described, and correct in their queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.build import documents
from grafana.dashboards_src import triage
from grafana.rules_src.alerts import GROUPS
from grafana.rules_src.model import Alert
from neuron_exporter.facts.driver_files import HARDWARE_ERRORS
from neuron_exporter.facts.report_names import ERROR_TYPES, FAILED_STATUSES
from neuron_exporter.model import SourceState
from tests.conftest import missing
from tests.support import dashboards, grafana_schema
from tests.support.dashboards import FOLDER, Panel

ALL = sorted(FOLDER.glob("*.json"))
each_dashboard = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)

HUES = ("green", "red", "orange", "yellow", "blue", "purple")
SHADES = ("", "super-light-", "light-", "semi-dark-", "dark-")
NAMED_COLORS = {"text", "gray", *(f"{shade}{hue}" for shade in SHADES for hue in HUES)}
"""Grafana adapts them to its light and dark theme; gray differs from the background of both."""

SERIES = {"timeseries", "state-timeline", "heatmap"}
"""Types of panels that name each series."""

EVENTS = {"Uncorrected", "Corrected", "Hardware faults"}
"""Panels whose bars are the events of a step, see `test_ecc_bars`."""

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
    generated = {
        name.removeprefix("dashboards/"): text
        for name, text in documents().items()
        if name.startswith("dashboards/")
    }
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
        if key in ("color", "fixedColor") and isinstance(value, str):
            assert value in NAMED_COLORS
        assert not (
            isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{3,8}|rgba?\(.*\)", value)
        )


@each_dashboard
def test_time_range_and_refresh(path: Path) -> None:
    document = dashboards.load(path)
    assert document["time"] in ({"from": "now-1h", "to": "now"}, {"from": "now-3h", "to": "now"})
    assert document["refresh"] == (
        "30s" if dashboards.datasource_kind(document) == "prometheus" else "1m"
    )
    assert document["uid"].startswith("neuron-exporter")


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_windows_follow_the_scrape_interval(path: Path) -> None:
    totals = {"Restarts", "Backlog", "Dropped and unknown"}
    for panel, expression in expressions(dashboards.load(path)):
        if panel.title in EVENTS:
            continue
        # The windows of latencies are those of the alert, and no rates.
        latencies = r"_over_time\([^()]*latency[^()]*\[(5m|1d:10m)\]( offset 1h)?\)"
        followed = re.sub(latencies, "", expression)
        for window in re.findall(r"\[(.*?)\]", followed):
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


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_no_graph_counts_an_event_twice(path: Path) -> None:
    """`increase` over a window longer than the step draws an event in several steps."""
    for panel, expression in expressions(dashboards.load(path)):
        if panel.document["type"] in SERIES:
            assert "increase(" not in expression, panel.title


@each_dashboard
def test_series_have_names(path: Path) -> None:
    """Without a legend, Grafana names a series `{percentile="p50", pod="a"}`."""
    for panel in dashboards.panels(dashboards.load(path)):
        if panel.document["type"] in SERIES:
            for target in panel.targets:
                assert target.get("legendFormat", target.get("label")) not in ("", "__auto", None)


@each_dashboard
def test_legends_begin_with_the_largest(path: Path) -> None:
    for panel in dashboards.panels(dashboards.load(path)):
        if panel.document["type"] in ("timeseries", "barchart"):
            legend = panel.document["options"]["legend"]
            assert legend["showLegend"], panel.title
            shown = {"lastNotNull": "Last *", "max": "Max", "sum": "Total"}
            assert legend["sortBy"] in {shown[each] for each in legend["calcs"]}, panel.title
            assert legend["sortDesc"], panel.title


@each_dashboard
def test_axes_of_shares_begin_at_0_and_do_not_depend_on_small_values(path: Path) -> None:
    """They end at the whole; those of failures, of which a few percent are many, show 10 %."""
    for panel in dashboards.panels(dashboards.load(path)):
        defaults = panel.document["fieldConfig"]["defaults"]
        whole = {"percentunit": 1, "percent": 100}.get(defaults["unit"])
        if whole and panel.document["type"] == "timeseries":
            soft = whole / 10 if panel.title.startswith("Fail") else None
            end = None if soft else whole
            assert (defaults["min"], defaults.get("max")) == (0, end), panel.title
            assert defaults["custom"].get("axisSoftMax") == soft, panel.title


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_the_largest_are_chosen_at_one_time_only(path: Path) -> None:
    """Over a range, `topk` chooses anew at each step, so that more series appear than asked for."""
    for panel, expression in expressions(dashboards.load(path)):
        if "topk" in expression:
            assert panel.document["type"] not in SERIES or "@ end()" in expression, panel.title


@each_dashboard
def test_unknown_is_neither_good_nor_bad(path: Path) -> None:
    """A stat or a colored cell without a value has the color of the first step."""
    unknown = {"color": "text", "value": None}
    for panel in dashboards.panels(dashboards.load(path)):
        config = panel.document["fieldConfig"]
        if panel.document["type"] == "stat":
            assert config["defaults"]["thresholds"]["steps"][0] == unknown, panel.title
        for override in config["overrides"]:
            properties = {each["id"]: each["value"] for each in override["properties"]}
            if properties.get("custom.cellOptions") == {"type": "color-text"}:
                assert properties["thresholds"]["steps"][0] == unknown, panel.title


FIXED = {
    "status_type": ("completed", *FAILED_STATUSES),
    "error_type": ERROR_TYPES,
    "state": tuple(SourceState),
    "outcome": ("delivered", "retried", "rejected"),
}


@pytest.mark.parametrize("path", dashboards.files("prometheus"), ids=lambda path: path.stem)
def test_statuses_and_states_have_fixed_colors(path: Path) -> None:
    """Only what is well is green."""
    for panel, expression in expressions(dashboards.load(path)):
        fixed_names = FIXED
        if "neuroncore_hardware_errors_total" in expression:
            fixed_names = {"error_type": HARDWARE_ERRORS}
        names = [
            each
            for label, each in fixed_names.items()
            if re.search(rf"by \([^)]*\b{label}\)", expression)
        ]
        if names and panel.document["type"] == "timeseries":
            fixed = {
                each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
                for each in panel.document["fieldConfig"]["overrides"]
            }
            for name in names[0]:
                is_green = "green" in fixed[f"/(^| ){name}$/"]
                assert is_green == (name in ("completed", "ok", "delivered")), (panel.title, name)


@each_dashboard
def test_idle_is_drawn_and_dead_is_not(path: Path) -> None:
    """A timeline's bands cover 0, are not transparent, and are none where there is no value."""
    for panel in dashboards.panels(dashboards.load(path)):
        assert panel.document["type"] != "heatmap", "drops 0, and inverts its colors by theme"
        if panel.document["type"] == "state-timeline":
            defaults = panel.document["fieldConfig"]["defaults"]
            assert defaults["color"]["mode"] == "thresholds"
            assert defaults["custom"]["fillOpacity"] == 100
            assert "spanNulls" not in defaults["custom"]


def test_cores_are_in_the_order_of_their_numbers() -> None:
    """As text, and from Prometheus, they are in the order 0, 1, 10, 11, 2."""
    machine = dashboards.load(FOLDER / "machine.json")
    bars = dashboards.find_panel(machine, "Current memory of each core").document
    steps = [each["id"] for each in bars["transformations"]]
    assert steps[-3:] == ["convertFieldType", "sortBy", "convertFieldType"]
    kinds = [
        conversion["destinationType"]
        for each in bars["transformations"]
        for conversion in each["options"].get("conversions", ())
    ]
    assert kinds == ["number", "string"]
    table = dashboards.find_panel(machine, "Current state of each core").document
    assert table["options"]["sortBy"] == [{"displayName": "Core", "desc": False}]
    timeline = next(
        each for each in dashboards.panels(machine) if each.title.startswith("Utilization of each")
    )
    assert timeline.targets[0]["legendFormat"] == "core {{core}}"  # of three digits


def test_latencies_are_a_median_a_percentile_and_a_maximum_on_a_logarithmic_axis() -> None:
    found = 0
    for path in ALL:
        for panel in dashboards.panels(dashboards.load(path)):
            if panel.title.startswith("Latency"):
                custom = panel.document["fieldConfig"]["defaults"]["custom"]
                assert custom["scaleDistribution"] == {"type": "log", "log": 10}, panel.title
                names = [each.get("legendFormat", each.get("label")) for each in panel.targets]
                assert [name.split()[-1] for name in names] == ["p50", "p99", "maximum"]
                found += 1
    assert found


def test_machine_links_to_its_exporter_and_its_workloads() -> None:
    document = dashboards.load(FOLDER / "machine.json")
    urls = [value for key, value in walk(document) if key == "url" and isinstance(value, str)]
    assert any(re.match(r"/d/neuron-exporter-exporter\?.*&var-instance=", url) for url in urls)
    for label in ("runtime_tag", "pod", "task_family", "service"):
        pattern = rf"/d/neuron-exporter-workload\?.*&var-workload=.*&var-by={label}&"
        assert any(re.match(pattern, url) for url in urls), label


def test_firing_alerts_link_to_the_runbook_where_its_address_is_known() -> None:
    def links(runbook: str) -> list[str]:
        panel = JSONEncoder().encode(triage.firing_alerts(runbook).build())
        return [value for key, value in walk(json.loads(panel)) if key == "url"]

    names = [rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Alert)]
    address = "https://example.org/RUNBOOK.md"
    assert links(address) == [f"{address}#{name.lower()}" for name in names]
    assert links("") == []


def test_firing_alerts_have_names_in_words() -> None:
    """They are as many as the alerts, and the panel counts machines, not devices or cores."""
    panel = dashboards.find_panel(dashboards.load(FOLDER / "fleet.json"), "Firing alerts")
    names = {
        each["matcher"]["options"]: each["properties"][0]["value"]
        for each in panel.document["fieldConfig"]["overrides"]
        if each["matcher"]["id"] == "byName"
    }
    assert names["NeuronUncorrectedEcc"] == "Uncorrected ECC"
    assert names["NeuronTimeouts"] == "Executions time out"
    assert len(set(names.values())) == len(names) == sum(len(group.rules) for group in GROUPS)
    for target in panel.targets:
        assert "count by (alertname, cluster, job, instance)" in target["expr"]


def test_menus_keep_variables_within_a_kind_of_data_source() -> None:
    """Each menu lists dashboards of one kind, and all dashboards are in one of the menus."""
    documents = [dashboards.load(path) for path in ALL]
    for document in documents:
        opened = []
        for link in document["links"]:
            assert (link["type"], link["keepTime"]) == ("dashboards", True)
            for each in documents:
                if set(link["tags"]) <= set(each["tags"]):
                    opened.append(each["uid"])
                    same = dashboards.datasource_kind(each) == dashboards.datasource_kind(document)
                    assert link["includeVars"] == same, (document["uid"], each["uid"])
        assert sorted(opened) == sorted(each["uid"] for each in documents)


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
                assert dashboards.datasource_kind(by_uid[uid]) == dashboards.datasource_kind(
                    document
                )
                links += 1
    assert links
