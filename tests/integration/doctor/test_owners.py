"""Owners in the reports of a real child."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.owners import check
from neuron_exporter.doctor.scraped import ScrapedMetrics
from neuron_exporter.doctor.source import take_sample
from tests.support.doctor import hide_kubernetes, make_context
from tests.support.exporter import SIMULATOR


@pytest.fixture(autouse=True)
def _no_kubernetes_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide what Kubernetes keeps on the machine that runs the tests."""
    hide_kubernetes(monkeypatch, tmp_path / "none")


def test_owners_in_reports() -> None:
    """Pods are found in a sampled report, or in the labels of the running exporter."""
    context = make_context(source__command=[*SIMULATOR, "--kubernetes"], source__period="1s")
    context.sample = take_sample(context)
    in_reports, providers = check(context)
    assert in_reports.verdict is Verdict.OK
    assert "neuron_k8s_info has the pods of" in in_reports.seen
    assert providers.seen.startswith("no owner provider")

    context = make_context()
    context.scraped = ScrapedMetrics(
        'neuron_exporter_build_info{version="1"} 1\nneuroncore_utilization_ratio{pod="a"} 1\n'
    )
    in_labels, *_ = check(context)
    assert in_labels.verdict is Verdict.OK
