"""The example of an autoscaler asks for a metric that there is, and gets its true value."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.metrics.catalogue import CATALOGUE
from tests.support.kubernetes import K8S

AUTOSCALER = yaml.safe_load((K8S / "karpenter" / "horizontal-pod-autoscaler.yaml").read_text())
(RULE,) = yaml.safe_load((K8S / "karpenter" / "prometheus-adapter.yaml").read_text())["rules"]

SCALED = yaml.safe_load((K8S / "karpenter" / "scaled-object.yaml").read_text())["spec"]


def test_the_adapter_makes_what_the_autoscaler_asks_for() -> None:
    """Both speak of one metric of pods, made of a series that the catalogue has."""
    (metric,) = AUTOSCALER["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == RULE["name"]["as"]
    assert RULE["resources"]["overrides"].keys() == {"namespace", "pod"}
    series, _, _ = RULE["seriesQuery"].partition("{")
    assert series in {row.name for row in CATALOGUE}


@pytest.mark.usefixtures("needs_prometheus")
def test_the_query_is_each_pods_own_cores(tmp_path: Path) -> None:
    """Filled in as the adapter does, the query is the average of a pod's cores, whatever the cores
    of others and of nobody do."""
    given = {
        "Series": "neuroncore_utilization_ratio",
        "LabelMatchers": 'namespace="inference",pod=~"a|b"',
        "GroupBy": "pod",
    }
    query = re.sub(r"<<\.(\w+)>>", lambda found: given[found[1]], RULE["metricsQuery"])
    wanted = [{"labels": '{pod="a"}', "value": 0.7}, {"labels": '{pod="b"}', "value": 0.25}]
    cores = {
        'namespace="inference",pod="a",neuroncore="0"': 0.9,
        'namespace="inference",pod="a",neuroncore="1"': 0.5,
        'namespace="inference",pod="b",neuroncore="2"': 0.25,
        'namespace="training",pod="a",neuroncore="3"': 1,
        'neuroncore="4"': 0,
    }
    evaluate(tmp_path, query, cores, wanted)


@pytest.mark.usefixtures("needs_prometheus")
def test_keda_divides_the_sum_of_the_pods_averages(tmp_path: Path) -> None:
    """A pod with many cores counts as one with few, and pods of other deployments do not count."""
    (trigger,) = SCALED["triggers"]
    assert trigger["metricType"] == "AverageValue"
    (metric,) = AUTOSCALER["spec"]["metrics"]
    average = metric["pods"]["target"]["averageValue"]
    assert float(trigger["metadata"]["threshold"]) == float(average.removesuffix("m")) / 1000
    assert SCALED["minReplicaCount"] == AUTOSCALER["spec"]["minReplicas"] > 0
    cores = {
        'namespace="inference",pod="inference-a",neuroncore="0"': 0.9,
        'namespace="inference",pod="inference-a",neuroncore="1"': 0.5,
        'namespace="inference",pod="inference-b",neuroncore="2"': 0.25,
        'namespace="inference",pod="other-a",neuroncore="3"': 1,
        'namespace="training",pod="inference-a",neuroncore="4"': 1,
    }
    wanted = [{"labels": "{}", "value": 0.95}]
    evaluate(tmp_path, trigger["metadata"]["query"], cores, wanted)


def evaluate(
    folder: Path, query: str, cores: Mapping[str, float], wanted: list[dict[str, Any]]
) -> None:
    """Check the result of a query over the utilization of cores, by their labels."""
    seen = [
        {"series": f"neuroncore_utilization_ratio{{{labels}}}", "values": f"{value}x20"}
        for labels, value in cores.items()
    ]
    test = {
        "interval": "15s",
        "input_series": seen,
        "promql_expr_test": [{"expr": query, "eval_time": "4m", "exp_samples": wanted}],
    }
    path = folder / "query.yaml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
