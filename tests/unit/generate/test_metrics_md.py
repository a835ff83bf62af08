"""METRICS.md, and the promises of the rows that it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields

import pytest
from botocore.session import Session

from neuron_exporter.generate.metrics_md import as_markdown, as_text
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import label_names
from neuron_exporter.model import CloudWatchMetric, Kind, Layout, Machine, MetricSpec, SourceState
from neuron_exporter.sinks.exposition import write
from neuron_exporter.sinks.prometheus import machine_labels
from neuron_exporter.telemetry import Telemetry
from tests.support.paths import ROOT

COMMITTED = ROOT / "METRICS.md"
SENT = [metric for row in CATALOGUE for metric in row.cloudwatch]
UNITS = {"_ratio": "ratio", "_bytes": "bytes", "_seconds": "seconds"}


def cells(lines: Iterable[str]) -> list[list[str]]:
    """The rows of Markdown's tables, heads and rules left out."""
    rows = [line for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_committed_list_is_what_the_command_writes() -> None:
    """METRICS.md is never out of date: `make golden` writes it anew."""
    assert COMMITTED.read_text() == as_markdown()


def own_names() -> list[str]:
    """The exporter's own metrics, as a scrape of nothing else shows them."""
    own = Telemetry(SourceState)
    text = write([*own.registry.collect(), *own.series.collect()]).decode()
    names = re.findall(r"^# TYPE (neuron_exporter_\w+)", text, re.M)
    return [name for name in names if name != "neuron_exporter_build_info"]


def test_every_metric_stands_in_both_lists() -> None:
    """The table for terminals and METRICS.md leave no metric out, and invent none."""
    sent = [metric.name for metric in SENT]
    shown = [row.name for row in CATALOGUE if Layout.CORE in row.layouts]
    names = [row.name for row in CATALOGUE if row.layouts]
    markdown = [row[0].strip("`\\* ") for row in cells(as_markdown().splitlines())]
    text = [line.split()[0] for line in as_text().splitlines() if line.strip()]
    assert sorted(markdown) == sorted([*names, *sent, *own_names()])
    assert sorted(text) == sorted([*shown, *sent, "PROMETHEUS", "CLOUDWATCH"])


def test_the_tables_are_whole() -> None:
    """No cell is empty, and none breaks its table."""
    prometheus, rest = as_markdown().split("## The exporter's own")
    own, cloudwatch = rest.split("## CloudWatch")
    for table, width in ((prometheus, 6), (own, 4), (cloudwatch, 5)):
        for row in cells(table.splitlines()):
            assert len(row) == width, row
            assert all(row), row


def test_the_labels_of_the_machine_are_named() -> None:
    """METRICS.md names every label that a series carries beside its own."""
    everything = Machine(**{field.name: "known" for field in fields(Machine)})
    head = as_markdown().split("## Prometheus")[0]
    for name, _ in machine_labels(everything):
        assert f"`{name}`" in head


def test_the_table_for_terminals_has_no_loose_ends() -> None:
    """No line ends in blanks, and every one ends."""
    text = as_text()
    assert text.endswith("\n")
    assert not re.search(r"[ \t]\n", text)


def test_no_name_is_given_twice() -> None:
    """A name means one thing, in each layout for Prometheus and in CloudWatch, whatever the case
    of its letters."""
    layouts = [[row.name for row in CATALOGUE if layout in row.layouts] for layout in Layout]
    for names in (*layouts, [metric.name for metric in SENT]):
        assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_row_explains_itself_in_a_sentence(row: MetricSpec) -> None:
    """Help begins with a capital or a number, ends in a full stop, and fits on one line."""
    assert re.fullmatch(r"[A-Z0-9][^\n|`]{10,150}\.", row.help)
    assert row.help.count(". ") == 0, "one sentence"


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_names_follow_the_habits_of_prometheus(row: MetricSpec) -> None:
    """Counters end in _total, infos in _info, and a unit is the name's last word."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
    assert row.name.endswith("_total") is (row.kind is Kind.COUNTER)
    assert row.name.endswith("_info") is (row.kind is Kind.INFO)
    for suffix, unit in UNITS.items():
        if row.name.endswith(suffix):
            assert row.unit.value == unit


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_labels_are_legal(row: MetricSpec) -> None:
    """Labels are names that Prometheus takes, and none of those that it keeps for itself."""
    for name in label_names(row):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name not in {"job", "instance", "le", "quantile"}


@pytest.mark.parametrize("metric", SENT, ids=lambda metric: metric.name)
def test_cloudwatch_takes_the_unit(metric: CloudWatchMetric) -> None:
    """Units are CloudWatch's standard units, as botocore's service model lists them."""
    units = Session().get_service_model("cloudwatch").shape_for("StandardUnit").enum
    assert metric.unit in units


@pytest.mark.parametrize("metric", SENT, ids=lambda metric: metric.name)
def test_names_follow_the_habits_of_cloudwatch(metric: CloudWatchMetric) -> None:
    """Names are in PascalCase, without the unit that stands beside them."""
    assert re.fullmatch(r"(?:[A-Z][a-z]+){2,6}", metric.name)
    assert not metric.name.endswith(("Percent", "Bytes", "Seconds", "Total"))


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("Percent", 100.0), ("Bytes", 1.0), ("Seconds", 1.0), ("Count", 1.0), ("Count/Second", 1.0)],
)
def test_the_scale_belongs_to_the_unit(unit: str, scale: float) -> None:
    """A ratio of 0.5 is sent as 50 percent; nothing else is scaled."""
    assert {metric.scale for metric in SENT if metric.unit == unit} == {scale}
