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


@pytest.mark.parametrize(
    ("name", "variable", "problem"),
    [
        ("pod", "A", "is a label of the exporter's series"),
        ("label_team", "A", "is a label of the exporter's series"),
        ("job-id", "A", "must have a name of letters, digits and _"),
        ("TaskId", "A", "is also a dimension of CloudWatch"),
        ("job_id", "AWS_SECRET_ACCESS_KEY", "must not publish a secret"),
        ("job_id", "GIT_TOKEN", "must not publish a secret"),
    ],
)
def test_process_labels_that_cannot_be_used(name: str, variable: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built("identity.process_labels", {name: variable})
    (found,) = caught.value.problems
    assert found.startswith(f"test: identity.process_labels.{name}: {problem}")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"job_id": "SLURM-JOB"}, ".job_id: must be a variable's name"),
        ({"job_id": ""}, ".job_id: must be a variable's name"),
        ({"job_id": 7}, ".job_id: must be text"),
        ({f"job{n}": "A" for n in range(9)}, ": must have at most 8 labels"),
    ],
)
def test_process_labels_against_the_schema(labels: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built("identity.process_labels", labels)
    (found,) = caught.value.problems
    assert found.startswith(f"test: identity.process_labels{problem}")


def test_label_with_two_meanings() -> None:
    flags = {"prometheus.labels": {"job_id": "7"}, "identity.process_labels": {"job_id": "A"}}
    with pytest.raises(ConfigError) as caught:
        build(load(flags=[Override("test", *each) for each in flags.items()]), environment={})
    assert "identity.process_labels.job_id: is also set in prometheus.labels" in str(caught.value)


def test_labels_of_own_metrics_are_known() -> None:
    registry = Telemetry(SourceState).registry
    collectors = list(registry._collector_to_names)
    used = {name for each in collectors for name in getattr(each, "_labelnames", ())}
    used |= {
        name for family in registry.collect() for sample in family.samples for name in sample.labels
    }
    assert used - {"quantile", "le"} == OWN_LABELS - {"metric"}
