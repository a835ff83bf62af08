"""The example of an autoscaler asks for a metric that there is, and gets its true value."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.metrics.catalogue import CATALOGUE
from tests.support.kubernetes import K8S

AUTOSCALER = yaml.safe_load((K8S / "karpenter" / "horizontal-pod-autoscaler.yaml").read_text())
(RULE,) = yaml.safe_load((K8S / "karpenter" / "prometheus-adapter.yaml").read_text())["rules"]


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
    seen: list[dict[str, Any]] = [
        {"series": f"neuroncore_utilization_ratio{{{labels}}}", "values": f"{value}x20"}
        for labels, value in {
            'namespace="inference",pod="a",neuroncore="0"': 0.9,
            'namespace="inference",pod="a",neuroncore="1"': 0.5,
            'namespace="inference",pod="b",neuroncore="2"': 0.25,
            'namespace="training",pod="a",neuroncore="3"': 1,
            'neuroncore="4"': 0,
        }.items()
    ]
    wanted = [{"labels": '{pod="a"}', "value": 0.7}, {"labels": '{pod="b"}', "value": 0.25}]
    test = {
        "interval": "15s",
        "input_series": seen,
        "promql_expr_test": [{"expr": query, "eval_time": "4m", "exp_samples": wanted}],
    }
    path = tmp_path / "query.yaml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
