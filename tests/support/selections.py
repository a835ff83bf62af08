"""Selections for CloudWatch, by the names of metrics."""

from __future__ import annotations

from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import Selection


def only(*names: str, per_owner: bool = False) -> Selection:
    """A selection of these metrics alone."""
    offered = for_cloudwatch("full", ["*"], [])[0].names
    return for_cloudwatch("full", ["*"], sorted(offered - set(names)), per_owner=per_owner)[0]


COMPLETED, FAILED = only("ExecutionsCompleted"), only("ExecutionErrors")
BOTH = only("ExecutionsCompleted", "ExecutionErrors")
