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


FIXED, OF_PROCESSES = "prometheus.labels", "identity.process_labels"


@pytest.mark.parametrize(
    ("key", "name", "value", "problem"),
    [
        (FIXED, "instance_id", "i-1", "is already a label of the exporter's series"),
        (FIXED, "neuroncore", "1", "is already a label of the exporter's series"),
        (FIXED, "pod", "a", "is already a label of the exporter's series"),
        (FIXED, "label_team", "a", "is already a label of the exporter's series"),
        (FIXED, "state", "on", "is already a label of the exporter's series"),
        (FIXED, "cost-center", "1", "must have a name of letters, digits and _"),
        (FIXED, "__name__", "x", "must have a name of letters, digits and _"),
        (FIXED, "team", "", "must not be empty (got '')"),
        (OF_PROCESSES, "pod", "A", "is already a label of the exporter's series"),
        (OF_PROCESSES, "label_team", "A", "is already a label of the exporter's series"),
        (OF_PROCESSES, "job-id", "A", "must have a name of letters, digits and _"),
        (OF_PROCESSES, "TaskId", "A", "is also a dimension of CloudWatch"),
        (OF_PROCESSES, "job_id", "AWS_SECRET_ACCESS_KEY", "must not publish a secret"),
        (OF_PROCESSES, "job_id", "GIT_TOKEN", "must not publish a secret"),
    ],
)
def test_other_labels_are_rejected(key: str, name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(key, {name: value})
    (found,) = caught.value.problems
    assert found.startswith(f"test: {key}.{name}: {problem}")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"job_id": "SLURM-JOB"}, ".job_id: must be the name of an environment variable"),
        ({"job_id": ""}, ".job_id: must be the name of an environment variable"),
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
