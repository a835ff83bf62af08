"""Both formats have the same content, and each scraper gets its preferred format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Machine
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
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
from tests.support.exposition_formats import EVERYTHING, assert_equal, both, families
from tests.support.reports import Harness, cores, executions, report, runtime

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
def test_negotiation(accept: str, wanted: Format) -> None:
    assert negotiate(accept) is wanted


@given(st.text(max_size=60))
def test_any_accept_header_has_a_format(accept: str) -> None:
    assert negotiate(accept) in (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)


def test_content_types() -> None:
    assert [each.content_type for each in (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)] == [
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text; version=0.0.1; charset=utf-8",
    ]


# Hardware metrics


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_are_equal_in_both_formats(path: Path) -> None:
    harness = Harness(period=None)
    for line in captures.lines(path):
        assert_equal(*both(harness.collect(json.loads(line), machine=HERE).snapshot))


@given(st.text(max_size=30))
def test_label_values_are_equal_in_both_formats(tag: str) -> None:
    busy = runtime(1, tag, execution_stats=executions(3))
    assert_equal(*both(Harness().collect(report(busy)).snapshot))


def test_absent_values_are_absent_in_both_formats() -> None:
    harness = Harness()
    harness.collect(report(runtime(1, "a", execution_stats=executions(5, {"p50": 0.25}))))
    idle = report(runtime(1, "a", execution_stats=executions(0)))
    text, open_metrics = both(harness.collect(idle).snapshot)
    assert_equal(text, open_metrics)
    assert "execution_latency_seconds{" not in open_metrics


def test_open_metrics_family_names() -> None:
    latency = executions(5, {"p50": 0.25})
    busy = runtime(1, "a", execution_stats=latency, neuroncore_counters=cores(_0=50))
    _, text = both(Harness().collect(report(busy), machine=HERE).snapshot)
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


def test_name_ending_in_count_is_a_gauge() -> None:
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    _, text = both(Harness().collect(machine.report(0), machine=HERE).snapshot)
    (family,) = (each for each in families(text) if each.name == "system_vcpu_count")
    assert family.type == "gauge"


# The exporter's own metrics


def registry() -> CollectorRegistry:
    """Return a registry with every kind of metric and text that needs escaping."""
    made = CollectorRegistry()
    Counter("a_seconds", 'A "counter"\\\nof things.', ["x"], registry=made).labels('1"\\\n').inc(2)
    Gauge("b_bytes", "A gauge.", registry=made).set(1e300)
    Info("c", "An info.", registry=made).info({"version": "1"})
    return made


def test_own_metrics_are_equal_in_both_formats() -> None:
    made = registry()
    text, open_metrics = (write(made.collect(), each) + each.end for each in (TEXT, OPEN_METRICS))
    assert_equal(text.decode(), open_metrics.decode())
    assert [(family.name, family.unit) for family in families(open_metrics.decode())] == [
        ("a_seconds", "seconds"),
        ("b_bytes", "bytes"),
        ("c", ""),
    ]


def test_complete_exposition_is_legal() -> None:
    telemetry = Telemetry(["ok"])
    machine = SimulatedMachine(parse(["--instance-type", "trn1.32xlarge"]))
    sink, snapshot = PrometheusSink(EVERYTHING), Harness().collect(machine.report(0)).snapshot
    sink.offer(snapshot)
    hardware = sink.expose(snapshot.taken_at.monotonic, OPEN_METRICS)
    text = hardware + write(telemetry.registry.collect(), OPEN_METRICS) + OPEN_METRICS.end
    names = {family.name for family in families(text.decode())}
    assert {"neuroncore_utilization_ratio", "neuron_exporter_up", "process_cpu_seconds"} <= names


def test_empty_exposition_is_legal() -> None:
    assert PrometheusSink(EVERYTHING).expose(0.0, OPEN_METRICS) == b""
    text = write(Telemetry().registry.collect(), OPEN_METRICS_DRAFT) + OPEN_METRICS_DRAFT.end
    assert "neuron_exporter_up" in {family.name for family in families(text.decode())}
