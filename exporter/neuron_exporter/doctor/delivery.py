"""What the running exporter shows about the delivery of a sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.remedies import IN_ENVIRONMENT


def delivers(context: Context, sink: str) -> bool:
    """Return whether the running exporter delivers by this sink."""
    scraped = context.scraped
    return scraped is not None and scraped.value("neuron_exporter_sink_up", sink=sink) == 1


def beside_exporter(context: Context, sink: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings about a sink. What fails here, while the running exporter delivers, is a
    warning."""
    succeeds = delivers(context, sink)
    for finding in findings:
        if succeeds and finding.verdict is Verdict.FAILED:
            seen = f"{finding.seen}; the running exporter delivers, so its environment differs"
            finding = finding._replace(verdict=Verdict.WARNING, seen=seen, fix=IN_ENVIRONMENT)
        yield finding
