"""The exporter's own metrics are sent as Prometheus sees them."""

from __future__ import annotations

import math

from prometheus_client import Gauge

from neuron_exporter.model import SourceState
from neuron_exporter.sinks.otlp.encode import encode_requests
from neuron_exporter.sinks.otlp.own_metrics import OwnMetrics
from neuron_exporter.telemetry import Telemetry
from tests.support.otlp_points import Point, read_points

STARTED = 1_700_000_000.0
NOW = STARTED + 60


def sent(telemetry: Telemetry) -> list[Point]:
    """Return the points of the metrics."""
    own = OwnMetrics(telemetry.registry, STARTED)
    metrics = own.encode((("instance_id", "i-1"),), int(NOW) * 10**9, {})
    (body,) = encode_requests(metrics, {})
    return read_points(body, NOW)


def test_all_but_summaries_are_sent_with_the_labels_of_the_machine() -> None:
    telemetry = Telemetry(SourceState)
    telemetry.report_errors.labels("not_json").inc(3)
    names = {
        sample.name
        for family in telemetry.registry.collect()
        for sample in family.samples
        if family.type != "summary" and not math.isnan(sample.value)
    }
    points = sent(telemetry)
    assert {point.name for point in points} == names
    assert {point.labels["instance_id"] for point in points} == {"i-1"}
    (errors,) = [p for p in points if p.labels.get("reason") == "not_json"]
    assert (errors.kind, errors.value, errors.start) == ("sum", 3, int(STARTED) * 10**9)
    (state,) = [p for p in points if p.labels.get("state") == "starting"]
    assert (state.kind, state.value, state.start) == ("gauge", 1, 0)


def test_units_follow_the_name() -> None:
    units = {point.name: point.unit for point in sent(Telemetry())}
    assert units["process_resident_memory_bytes"] == "By"
    assert units["process_cpu_seconds_total"] == "s"
    assert units["neuron_exporter_up"] == ""


def test_a_gauge_without_a_value_is_absent() -> None:
    telemetry = Telemetry()
    Gauge("neuron_exporter_unknown", "x", registry=telemetry.registry).set(math.nan)
    assert "neuron_exporter_unknown" not in {point.name for point in sent(telemetry)}
