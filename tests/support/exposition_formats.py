"""Expositions in the text format and in OpenMetrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import Metric
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as open_metrics_parser

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Snapshot
from neuron_exporter.sinks.exposition import OPEN_METRICS, TEXT, Format
from neuron_exporter.sinks.prometheus import PrometheusSink

EVERYTHING, _ = select_for_prometheus("full", [], [])


def exposed(sink: PrometheusSink, snapshot: Snapshot, format: Format) -> str:
    """Return a scrape in a format, with its end marker."""
    text = sink.expose(snapshot.taken_at.monotonic, format) + format.end
    return text.decode()


def both(snapshot: Snapshot) -> tuple[str, str]:
    """Return a snapshot in the text format and in OpenMetrics."""
    sink = PrometheusSink(EVERYTHING)
    sink.offer(snapshot)
    texts = exposed(sink, snapshot, TEXT), exposed(sink, snapshot, OPEN_METRICS)
    assert exposed(sink, snapshot, TEXT) == texts[0], "one format changed the other's table"
    return texts


def families(text: str) -> list[Metric]:
    """Parse OpenMetrics with the strict parser."""
    return list(open_metrics_parser.text_string_to_metric_families(text))


def samples(read: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the values of all samples by name and labels."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in read
        for sample in family.samples
    }


def assert_equal(text: str, open_metrics: str) -> None:
    """Assert that both texts have the same families and samples."""
    plain = list(text_parser.text_string_to_metric_families(text))
    strict = families(open_metrics)
    assert samples(strict) == samples(plain)
    assert samples(strict)
    for ours in strict:
        name = ours.name + ("_info" if ours.type == "info" else "")
        other = next(each for each in plain if each.name == name)
        assert ours.documentation == other.documentation
        assert ours.type == ("info" if name != ours.name else other.type)
