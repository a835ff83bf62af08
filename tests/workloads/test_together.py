"""Workload, exporter with a simulated machine, and Prometheus together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documents import block
from tests.support.exporter import running_exporter, simulated
from tests.support.programs import TAG, Programs, metrics_url
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for
from tests.workloads.conftest import Trained

pytestmark = [pytest.mark.workloads, pytest.mark.usefixtures("needs_prometheus")]


def query() -> str:
    """Return the README's query."""
    return block("docker/workloads/README.md", "promql")


def test_the_query_joins_latency_and_cores(
    trained: Trained, with_torch: Path, tmp_path: Path
) -> None:
    """The query returns the latency of the application whose cores are busy, and not that of
    another without cores."""
    model = str(trained.folder / "housing.pt")
    flags = ("--model", model, "--rate", "50", "--metrics-port", "0")
    machine = ("--instance-type", "inf2.xlarge", "--scenario", "training", "--runtimes", "1")
    config = {"source": simulated(*machine, "--tag", "housing")}
    ours = Programs(with_torch, tmp_path, **{TAG: "housing"})
    other = Programs(with_torch, tmp_path, **{TAG: "another"})
    with (
        ours.running("inference.py", *flags) as first,
        other.running("inference.py", *flags) as second,
        running_exporter(tmp_path, config) as exporter,
    ):
        targets = [url.split("/")[2] for url in map(metrics_url, (first, second))]
        targets.append(exporter.url.removeprefix("http://"))
        with prometheus_server(tmp_path, *targets) as prometheus:
            latencies = "count by (process_tag) (rate(inference_latency_seconds_count[1m]) > 0)"
            wait_for(lambda: len(prometheus.query(latencies)) == 2, 60)
            wait_for(lambda: prometheus.query(query()), 60)
            result = prometheus.query(query())
    assert [each["metric"] for each in result] == [{"process_tag": "housing"}]
    assert 0 < float(result[0]["value"][1]) < 5
