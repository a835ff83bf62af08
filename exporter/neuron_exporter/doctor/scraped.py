"""Metrics and snapshot of a running exporter, as read from its HTTP routes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.identity.machine import STREAM_KEYS
from neuron_exporter.model import Machine

Labels = Mapping[str, str]


class ScrapedMetrics:
    """Samples of `/metrics` by name.

    Raises:
        ValueError: the text is not an exposition of this exporter.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))
        if "neuron_exporter_build_info" not in self._samples:
            raise ValueError("no metrics of this exporter")

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the first sample with these labels; None without one."""
        samples = self._samples.get(name, ())
        return next((value for has, value in samples if labels.items() <= has.items()), None)

    def values_by(self, name: str, label: str) -> dict[str, float]:
        """Return the values of a metric, keyed by one of its labels."""
        return {has.get(label, ""): value for has, value in self._samples.get(name, ())}

    def label(self, name: str, label: str) -> str:
        """Return a label of a metric's first sample; empty without one."""
        return next((has.get(label, "") for has, _ in self._samples.get(name, ())), "")

    def any_label(self, label: str) -> str:
        """Return a label of the first sample of any metric that has it; empty without one."""
        every = (has for samples in self._samples.values() for has, _ in samples)
        return next((has[label] for has in every if label in has), "")

    @property
    def source_state(self) -> str:
        """State of the source, by its name in `neuron_exporter_source_state`."""
        states = self.values_by("neuron_exporter_source_state", "state")
        return next((state for state, value in states.items() if value == 1), "")


class _Source(msgspec.Struct):
    reason: str = ""
    is_fresh: bool = False


class _Problem(msgspec.Struct):
    reason: str = ""
    detail: str = ""


class _Sink(msgspec.Struct):
    state: str = ""


class _Sinks(msgspec.Struct):
    cloudwatch: _Sink = msgspec.field(default_factory=_Sink)
    otlp: _Sink = msgspec.field(default_factory=_Sink)

    def state(self, name: str) -> str:
        """Return the state of a sink; empty if it is unknown."""
        sink = getattr(self, name, None)
        return sink.state if isinstance(sink, _Sink) else ""


class ScrapedSnapshot(msgspec.Struct):
    """The parts of `/api/v1/snapshot` that the doctor reads: the reasons of states, the problems,
    and the identity. Missing ones are empty."""

    source: _Source = msgspec.field(default_factory=_Source)
    problems: list[_Problem] = msgspec.field(default_factory=list)
    sinks: _Sinks = msgspec.field(default_factory=_Sinks)
    machine: dict[str, str] = msgspec.field(default_factory=dict)


def parse_snapshot(document: bytes) -> ScrapedSnapshot:
    """Parse a snapshot. A document of another version or program yields an empty one."""
    try:
        return msgspec.json.decode(document, type=ScrapedSnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ScrapedSnapshot()


def known_machine(scraped: ScrapedMetrics | None, snapshot: bytes) -> Machine:
    """Return the identity that a running exporter knows. Its snapshot has all of it; the labels of
    its metrics have what reports can contain."""
    labels = scraped.any_label if scraped is not None else lambda _: ""
    found = {name: labels(name) for name in STREAM_KEYS} | parse_snapshot(snapshot).machine
    return Machine(**{each.name: found.get(each.name, "") for each in fields(Machine)})
