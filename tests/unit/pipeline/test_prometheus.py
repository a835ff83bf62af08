"""Labels that the configuration adds to Prometheus series."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.config import ConfigError, Override, load
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.telemetry import OWN_LABELS, Telemetry


def built(key: str, value: Any) -> None:
    """Build the exporter with this key."""
    build(load(flags=[Override("test", key, value)]), environment={})


def test_labels_that_no_series_has_are_accepted() -> None:
    built("prometheus.labels", {"team": "search", "cost_center": "7"})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("instance_id", "i-1", "is a label of the exporter's series"),
        ("neuroncore", "1", "is a label of the exporter's series"),
        ("pod", "a", "is a label of the exporter's series"),
        ("label_team", "a", "is a label of the exporter's series"),
        ("state", "on", "is a label of the exporter's series"),
        ("cost-center", "1", "must have a name of letters, digits and _"),
        ("__name__", "x", "must have a name of letters, digits and _"),
        ("team", "", "must not be empty (got '')"),
    ],
)
def test_other_labels_are_rejected(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built("prometheus.labels", {name: value})
    (found,) = caught.value.problems
    assert found.startswith(f"test: prometheus.labels.{name}: {problem}")


def test_labels_of_own_metrics_are_known() -> None:
    registry = Telemetry(SourceState).registry
    collectors = list(registry._collector_to_names)
    used = {name for each in collectors for name in getattr(each, "_labelnames", ())}
    used |= {
        name for family in registry.collect() for sample in family.samples for name in sample.labels
    }
    assert used - {"quantile", "le"} == OWN_LABELS - {"metric"}
