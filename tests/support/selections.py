"""Selections for CloudWatch by the names of metrics."""

from __future__ import annotations

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.model import Selection


def select_only(*names: str, per_owner: bool = False) -> Selection:
    """Return a selection of these metrics alone."""
    available = select_for_cloudwatch("full", ["*"], [])[0].names
    return select_for_cloudwatch(
        "full", ["*"], sorted(available - set(names)), per_owner=per_owner
    )[0]


COMPLETED, FAILED = select_only("ExecutionsCompleted"), select_only("ExecutionErrors")
BOTH = select_only("ExecutionsCompleted", "ExecutionErrors")
