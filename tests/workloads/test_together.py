"""The workload, neuron-monitor's place taken by the simulator, the exporter, and Prometheus."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.exporter import running_exporter, simulated
from tests.support.programs import PROGRAMS, TAG, Programs, metrics_url
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for
from tests.workloads.conftest import Trained

pytestmark = [pytest.mark.workloads, pytest.mark.usefixtures("needs_prometheus")]


def query() -> str:
    """The query that README gives."""
    found = re.search(r"```promql\n(.*?)```", (PROGRAMS / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def test_one_query_joins_the_applications_latency_with_its_cores_by_the_tag(
    trained: Trained, with_torch: Path, tmp_path: Path
) -> None:
    """README's query answers with the latency of the application whose cores are busy, and not
    with that of another that has no cores."""
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
            answer = prometheus.query(query())
    assert [each["metric"] for each in answer] == [{"process_tag": "housing"}]
    assert 0 < float(answer[0]["value"][1]) < 5
