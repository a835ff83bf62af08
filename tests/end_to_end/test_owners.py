"""A running exporter that finds out whose cores and processes are, asked by a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import metadata
from tests.support.cgroups import process_in
from tests.support.children import script
from tests.support.endpoint import Endpoint
from tests.support.exporter import running_exporter
from tests.support.mounts import own_dev
from tests.support.reports import cores, executions, report, runtime
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

TRAIN, INFER = "158d1c8083dd49d6b527399fd6414f5c", "258d1c8083dd49d6b527399fd6414f5d"
TRAINER, MODEL = "1" * 64, "2" * 64


def working(pid: int, **busy: float) -> dict[str, Any]:
    """A runtime that works."""
    shares = {**dict.fromkeys(("_0", "_1", "_2", "_3"), 0.0), **busy}
    return runtime(pid, "app", neuroncore_counters=cores(**shares), execution_stats=executions(10))


def source(folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """A neuron-monitor that says the same again and again."""
    report = folder / "report.json"
    report.write_text(json.dumps(document) + "\n")
    monitor = script(folder / "monitor", f"while sleep 0.5; do cat {report}; done")
    return {"command": [str(monitor)], "period": "1s"}


@pytest.mark.usefixtures("needs_prometheus")
def test_a_daemon_tells_tasks_apart(tmp_path: Path, endpoint: Endpoint) -> None:
    """Two tasks with one tag on one machine: each one's executions have its family and container
    in Prometheus, and in CloudWatch's sets by family."""
    tasks = [
        metadata.introspected("train", TRAIN, {TRAINER: "trainer"}),
        metadata.introspected("infer", INFER, {MODEL: "model"}),
    ]
    with (
        process_in(f"/ecs/{TRAIN}/{TRAINER}") as trainer,
        process_in(f"/ecs/{INFER}/{MODEL}") as model,
        metadata.introspection(*tasks) as agent,
    ):
        sent = {
            "enabled": True,
            "endpoint_url": endpoint.url,
            "flush_interval": "2s",
            "dimension_sets": [["InstanceId"], ["InstanceId", "TaskDefinitionFamily"]],
        }
        document = report(working(trainer, _0=50), working(model, _2=80))
        config = {"source": source(tmp_path, document), "cloudwatch": sent}
        environment = {
            "NEURON_EXPORTER_ECS_AGENT": agent.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        with (
            running_exporter(tmp_path, config, environment=environment) as exporter,
            prometheus_server(tmp_path, exporter.url.removeprefix("http://")) as prometheus,
        ):
            query = "sum by (task_family, container) (execution_status_total)"
            wait_for(lambda: len(prometheus.query(query)) == 2)
            named = {
                (each["metric"]["task_family"], each["metric"]["container"])
                for each in prometheus.query(query)
            }
            assert named == {("train", "trainer"), ("infer", "model")}
            holding = 'neuroncore_runtime_info{task_family="infer"}'
            assert [each["metric"]["neuroncore"] for each in prometheus.query(holding)] == ["2"]

            def families() -> set[str]:
                return {
                    each["Value"]
                    for datum in endpoint.datums("ExecutionsCompleted")
                    for each in datum["Dimensions"]
                    if each["Name"] == "TaskDefinitionFamily"
                }

            wait_for(lambda: families() == {"train", "infer"})
            assert exporter.stop() == 0


@pytest.mark.usefixtures("needs_prometheus")
def test_a_sidecar_names_the_workload_beside_it(tmp_path: Path) -> None:
    """Cores and executions of our own devices have the task's service, family and container."""
    document = report(working(700, _0=50))
    devices = tmp_path / "dev"
    devices.mkdir()
    within = own_dev(devices, "neuron0", "neuron1")
    with metadata.ecs() as agent:
        environment = {"ECS_CONTAINER_METADATA_URI_V4": agent.url}
        config = {"source": source(tmp_path, document)}
        with (
            running_exporter(tmp_path, config, environment=environment, within=within) as exporter,
            prometheus_server(tmp_path, exporter.url.removeprefix("http://")) as prometheus,
        ):
            whose = '{service="resnet-inference", task_family="resnet", container="app"}'
            for name in ("neuroncore_utilization_ratio", "execution_status_total"):
                everything = wait_for(lambda name=name: prometheus.query(f"count({name})"))
                of_the_task = prometheus.query(f"count({name}{whose})")
                assert of_the_task[0]["value"][1] == everything[0]["value"][1]
            assert exporter.stop() == 0
