"""A report processor that is fed by hand."""

from __future__ import annotations

import json
from typing import Any

from neuron_exporter.config import Override, load
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.processor import ReportProcessor


class Feed:
    """A processor that is fed by hand, and the events that it logs."""

    def __init__(self, events: list[Any], period: str = "5s") -> None:
        flags = [Override("--period", "source.period", period)]
        self.pipeline: Pipeline = build(load(flags=flags), environment={})
        self.processor: ReportProcessor = self.pipeline.processor
        self._events = events
        self._now = 0.0

    def process(self, document: Any, after: float = 5) -> float | None:
        """Process a report, or a line, that comes after this time."""
        self._now += after
        line = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.processor.on_line(
            memoryview(line), Timestamp(1_700_000_000 + self._now, self._now)
        )

    def new_events(self) -> list[tuple[str, Any]]:
        """Return the events since the last call, each with its subject."""
        events = [
            (e["event"], e.get("group") or e.get("state") or e.get("path") or e.get("reason"))
            for e in self._events
        ]
        self._events.clear()
        return events

    def counter(self, name: str, **labels: str) -> float | None:
        """Return one of the exporter's own counters."""
        return self.pipeline.telemetry.registry.get_sample_value(name, labels)
