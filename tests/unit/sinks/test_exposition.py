"""Both formats say the same, and each scraper gets the one that it likes best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, Metric
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as open_metrics_parser

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import for_prometheus
from neuron_exporter.model import Machine, Snapshot
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.sinks.exposition import (
    OPEN_METRICS,
    OPEN_METRICS_DRAFT,
    TEXT,
    Format,
    negotiate,
    write,
)
from neuron_exporter.sinks.prometheus import PrometheusSink
from neuron_exporter.telemetry import Telemetry
from tests import captures
from tests.support.reports import Bench, cores, executions, report, runtime

EVERYTHING, _ = for_prometheus("full", [], [])
HERE = Machine(instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1")
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def exposed(sink: PrometheusSink, snapshot: Snapshot, format: Format) -> str:
    """What a scrape in a format shows, to its end."""
    text = sink.expose(snapshot.taken_at.monotonic, format) + format.end
    return text.decode()


def both(snapshot: Snapshot) -> tuple[str, str]:
    """The same snapshot in the text format and in OpenMetrics."""
    sink = PrometheusSink(EVERYTHING)
    sink.offer(snapshot)
    texts = exposed(sink, snapshot, TEXT), exposed(sink, snapshot, OPEN_METRICS)
    assert exposed(sink, snapshot, TEXT) == texts[0], "one format changed the other's table"
    return texts


def families(text: str) -> list[Metric]:
    """OpenMetrics, read strictly."""
    return list(open_metrics_parser.text_string_to_metric_families(text))


def samples(read: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The values of all samples, by name and labels in their order."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in read
        for sample in family.samples
    }


def assert_the_same(text: str, open_metrics: str) -> None:
    """Sample for sample, and help for help."""
    plain = list(text_parser.text_string_to_metric_families(text))
    strict = families(open_metrics)
    assert samples(strict) == samples(plain)
    assert samples(strict)
    for ours in strict:
        name = ours.name + ("_info" if ours.type == "info" else "")
        other = next(each for each in plain if each.name == name)
        assert ours.documentation == other.documentation
        assert ours.type == ("info" if name != ours.name else other.type)


# Negotiation


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS_2, OPEN_METRICS),
        (PROMETHEUS_3, OPEN_METRICS),
        (FIREFOX, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("application/json", TEXT),
        ("nonsense;;=,,", TEXT),
        ("application/openmetrics-text", OPEN_METRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPEN_METRICS),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', OPEN_METRICS),
        ("application/openmetrics-text;version=0.0.1", OPEN_METRICS_DRAFT),
        ("application/openmetrics-text;version=9.0.0", TEXT),
        ("application/openmetrics-text;version=9.0.0,application/*;q=0.1", OPEN_METRICS),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.4", TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.3", OPEN_METRICS),
        ("text/plain,application/openmetrics-text", TEXT),
        ("application/openmetrics-text,text/plain", OPEN_METRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text; q=0.0,*/*;q=0.1", TEXT),
        ("application/openmetrics-text;q=much", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=7,text/plain;q=0.1", TEXT),
    ],
)
def test_the_format_is_the_one_that_is_liked_best(accept: str, wanted: Format) -> None:
    """Accept is honoured with its q-values and versions; whoever does not care gets text."""
    assert negotiate(accept) is wanted


@given(st.text(max_size=60))
def test_no_header_is_an_error(accept: str) -> None:
    """Whatever is accepted, there is a format for it."""
    assert negotiate(accept) in (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)


def test_the_content_types_are_those_of_the_formats() -> None:
    """A scraper learns from the type what it reads."""
    assert [each.content_type for each in (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)] == [
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text; version=0.0.1; charset=utf-8",
    ]


# The hardware's families


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "trn1.32xlarge", "trn2.48xlarge"])
def test_simulated_machines_are_the_same_in_both_formats(instance_type: str, scenario: str) -> None:
    """OpenMetrics' own parser reads what the text format says, sample for sample."""
    machine = SimulatedMachine(parse(["--instance-type", instance_type, "--scenario", scenario]))
    bench = Bench()
    for number in range(3):
        snapshot = bench.collect(machine.report(number), machine=HERE).snapshot
    assert_the_same(*both(snapshot))


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_are_the_same_in_both_formats(path: Path) -> None:
    """The same holds for everything that was recorded on real machines."""
    bench = Bench(period=None)
    for line in captures.lines(path):
        assert_the_same(*both(bench.collect(json.loads(line), machine=HERE).snapshot))


@given(st.text(max_size=30))
def test_any_label_value_is_the_same_in_both_formats(tag: str) -> None:
    """Quotes, backslashes and line ends in a tag forge no line of OpenMetrics either."""
    busy = runtime(1, tag, execution_stats=executions(3))
    assert_the_same(*both(Bench().collect(report(busy)).snapshot))


def test_absent_values_are_absent_in_both_formats() -> None:
    """A percentile that is null has no line, and its family's head stays where it was."""
    bench = Bench()
    bench.collect(report(runtime(1, "a", execution_stats=executions(5, {"p50": 0.25}))))
    idle = report(runtime(1, "a", execution_stats=executions(0)))
    text, open_metrics = both(bench.collect(idle).snapshot)
    assert_the_same(text, open_metrics)
    assert "execution_latency_seconds{" not in open_metrics


def test_families_are_named_as_open_metrics_demands() -> None:
    """Counters and infos have their suffix on samples only, and a unit ends its family's name."""
    latency = executions(5, {"p50": 0.25})
    busy = runtime(1, "a", execution_stats=latency, neuroncore_counters=cores(_0=50))
    _, text = both(Bench().collect(report(busy), machine=HERE).snapshot)
    by_name = {family.name: family for family in families(text)}
    rows = {row.name: row for row in CATALOGUE}
    assert by_name["neuron_executions"].type == "counter"
    assert by_name["instance"].type == "info"
    assert by_name["neuroncore_utilization_ratio"].unit == "ratio"
    assert by_name["execution_latency_seconds"].unit == "seconds"
    for family in by_name.values():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        unit = rows[family.name + suffix].unit.value
        assert family.unit == (unit if unit and family.name.endswith(f"_{unit}") else "")
        assert {sample.name for sample in family.samples} <= {family.name + suffix}
    assert "_created" not in text


def test_a_family_whose_name_ends_in_count_is_a_gauge() -> None:
    """AWS's system_vcpu_count reads like a histogram's part, and is none."""
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    _, text = both(Bench().collect(machine.report(0), machine=HERE).snapshot)
    (family,) = (each for each in families(text) if each.name == "system_vcpu_count")
    assert family.type == "gauge"


# Our own instruments


def registry() -> CollectorRegistry:
    """Instruments of every kind that is in use, with text that has to be escaped."""
    made = CollectorRegistry()
    Counter("a_seconds", 'A "counter"\\\nof things.', ["x"], registry=made).labels('1"\\\n').inc(2)
    Gauge("b_bytes", "A gauge.", registry=made).set(1e300)
    Info("c", "An info.", registry=made).info({"version": "1"})
    return made


def test_own_instruments_are_the_same_in_both_formats() -> None:
    """Kinds, help, labels and units of the exporter's own metrics stand in both formats."""
    made = registry()
    text, open_metrics = (write(made.collect(), each) + each.end for each in (TEXT, OPEN_METRICS))
    assert_the_same(text.decode(), open_metrics.decode())
    assert [(family.name, family.unit) for family in families(open_metrics.decode())] == [
        ("a_seconds", "seconds"),
        ("b_bytes", "bytes"),
        ("c", ""),
    ]


def test_all_families_together_are_one_legal_exposition() -> None:
    """No family of the exporter has the name of one of the hardware; the end comes once."""
    telemetry = Telemetry(["ok"])
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    sink, snapshot = PrometheusSink(EVERYTHING), Bench().collect(machine.report(0)).snapshot
    sink.offer(snapshot)
    hardware = sink.expose(snapshot.taken_at.monotonic, OPEN_METRICS)
    text = hardware + write(telemetry.registry.collect(), OPEN_METRICS) + OPEN_METRICS.end
    names = {family.name for family in families(text.decode())}
    assert {"neuroncore_utilization_ratio", "neuron_exporter_up", "process_cpu_seconds"} <= names


def test_an_exposition_of_nothing_is_legal() -> None:
    """Before the first report OpenMetrics is what the exporter says of itself, with an end."""
    assert PrometheusSink(EVERYTHING).expose(0.0, OPEN_METRICS) == b""
    text = write(Telemetry().registry.collect(), OPEN_METRICS_DRAFT) + OPEN_METRICS_DRAFT.end
    assert "neuron_exporter_up" in {family.name for family in families(text.decode())}
