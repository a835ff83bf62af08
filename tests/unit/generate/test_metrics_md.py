"""METRICS.md, and the rules for rows of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields

import pytest

from neuron_exporter.generate.metrics_md import as_markdown, as_text
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import label_names
from neuron_exporter.model import (
    CloudWatchMetric,
    Layout,
    Machine,
    MetricKind,
    MetricSpec,
    SourceState,
)
from neuron_exporter.sinks.exposition import write
from neuron_exporter.sinks.machine_labels import machine_labels
from neuron_exporter.telemetry import OptionalGauge, Telemetry
from tests.support.paths import ROOT

COMMITTED = ROOT / "METRICS.md"
CLOUDWATCH_METRICS = [metric for row in CATALOGUE for metric in row.cloudwatch]
UNITS = {"_ratio": "ratio", "_bytes": "bytes", "_seconds": "seconds"}


def cells(lines: Iterable[str]) -> list[list[str]]:
    """Return the rows of Markdown tables without headers and rules."""
    rows = [line for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_committed_file_is_current() -> None:
    assert COMMITTED.read_text() == as_markdown()


def own_names() -> list[str]:
    """Return the names of the exporter's own metrics, from a scrape."""
    own = Telemetry(SourceState)
    own.show_otlp()
    for each in vars(own).values():
        if isinstance(each, OptionalGauge):
            each.set(1)
    text = write([*own.registry.collect(), *own.series.collect()]).decode()
    names = re.findall(r"^# TYPE (neuron_exporter_\w+)", text, re.M)
    return [name for name in names if name != "neuron_exporter_build_info"]


def test_both_lists_are_complete() -> None:
    cloudwatch = [metric.name for metric in CLOUDWATCH_METRICS]
    shown = [row.name for row in CATALOGUE if Layout.CORE in row.layouts]
    names = [row.name for row in CATALOGUE if row.layouts]
    markdown = [row[0].strip("`\\* ") for row in cells(as_markdown().splitlines())]
    text = [line.split()[0] for line in as_text().splitlines() if line.strip()]
    assert sorted(markdown) == sorted([*names, *cloudwatch, *own_names()])
    assert sorted(text) == sorted([*shown, *cloudwatch, "PROMETHEUS", "CLOUDWATCH"])


def test_no_empty_cells() -> None:
    prometheus, rest = as_markdown().split("## The exporter itself")
    own, cloudwatch = rest.split("## CloudWatch")
    for table, width in ((prometheus, 6), (own, 4), (cloudwatch, 5)):
        for row in cells(table.splitlines()):
            assert len(row) == width, row
            assert all(row), row


def test_machine_labels_are_listed() -> None:
    everything = Machine(**{field.name: "known" for field in fields(Machine)})
    head = as_markdown().split("## Prometheus")[0]
    for name, _ in machine_labels(everything):
        assert f"`{name}`" in head


def test_text_has_no_trailing_blanks() -> None:
    text = as_text()
    assert text.endswith("\n")
    assert not re.search(r"[ \t]\n", text)


def test_names_are_unique() -> None:
    """In each layout and in CloudWatch, whatever the case of letters."""
    layouts = [[row.name for row in CATALOGUE if layout in row.layouts] for layout in Layout]
    for names in (*layouts, [metric.name for metric in CLOUDWATCH_METRICS]):
        assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_help_is_one_sentence(row: MetricSpec) -> None:
    assert re.fullmatch(r"[A-Z0-9][^\n|`]{10,150}\.", row.help)
    assert row.help.count(". ") == 0, "one sentence"


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_prometheus_naming(row: MetricSpec) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
    assert row.name.endswith("_total") is (row.kind is MetricKind.COUNTER)
    assert row.name.endswith("_info") is (row.kind is MetricKind.INFO)
    for suffix, unit in UNITS.items():
        if row.name.endswith(suffix):
            assert row.unit.value == unit


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_label_names(row: MetricSpec) -> None:
    for name in label_names(row):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name not in {"job", "instance", "le", "quantile"}


@pytest.mark.parametrize("metric", CLOUDWATCH_METRICS, ids=lambda metric: metric.name)
def test_cloudwatch_naming(metric: CloudWatchMetric) -> None:
    assert re.fullmatch(r"(?:[A-Z][a-z]+){2,6}", metric.name)
    assert not metric.name.endswith(("Percent", "Bytes", "Seconds", "Total"))


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("Percent", 100.0), ("Bytes", 1.0), ("Seconds", 1.0), ("Count", 1.0), ("Count/Second", 1.0)],
)
def test_scale_by_unit(unit: str, scale: float) -> None:
    """A ratio of 0.5 is sent as 50 percent; nothing else is scaled."""
    assert {metric.scale for metric in CLOUDWATCH_METRICS if metric.unit == unit} == {scale}
