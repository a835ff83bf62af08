"""A running exporter that looks up owners, scraped by a real Prometheus."""

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


def busy_runtime(pid: int, **busy: float) -> dict[str, Any]:
    """Return a runtime that is working."""
    shares = {**dict.fromkeys(("_0", "_1", "_2", "_3"), 0.0), **busy}
    return runtime(pid, "app", neuroncore_counters=cores(**shares), execution_stats=executions(10))


def source(folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source that repeats one report."""
    report = folder / "report.json"
    report.write_text(json.dumps(document) + "\n")
    monitor = script(folder / "monitor", f"while sleep 0.5; do cat {report}; done")
    return {"command": [str(monitor)], "period": "1s"}


@pytest.mark.usefixtures("needs_prometheus")
def test_daemon(tmp_path: Path, endpoint: Endpoint) -> None:
    """Two tasks with the same runtime tag are distinguished in Prometheus and in CloudWatch's
    dimension sets."""
    tasks = [
        metadata.agent_task("train", TRAIN, {TRAINER: "trainer"}),
        metadata.agent_task("infer", INFER, {MODEL: "model"}),
    ]
    with (
        process_in(f"/ecs/{TRAIN}/{TRAINER}") as trainer,
        process_in(f"/ecs/{INFER}/{MODEL}") as model,
        metadata.agent_server(*tasks) as agent,
    ):
        cloudwatch = {
            "enabled": True,
            "endpoint_url": endpoint.url,
            "flush_interval": "2s",
            "dimension_sets": [["InstanceId"], ["InstanceId", "TaskDefinitionFamily"]],
        }
        document = report(busy_runtime(trainer, _0=50), busy_runtime(model, _2=80))
        config = {"source": source(tmp_path, document), "cloudwatch": cloudwatch}
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
            owners = {
                (each["metric"]["task_family"], each["metric"]["container"])
                for each in prometheus.query(query)
            }
            assert owners == {("train", "trainer"), ("infer", "model")}
            core_of_infer = 'neuroncore_runtime_info{task_family="infer"}'
            assert [each["metric"]["neuroncore"] for each in prometheus.query(core_of_infer)] == [
                "2"
            ]

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
def test_sidecar(tmp_path: Path) -> None:
    """Series of the task's devices have its service, family and container."""
    document = report(busy_runtime(700, _0=50))
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
            owner = '{service="resnet-inference", task_family="resnet", container="app"}'
            for name in ("neuroncore_utilization_ratio", "execution_status_total"):
                everything = wait_for(lambda name=name: prometheus.query(f"count({name})"))
                of_the_task = prometheus.query(f"count({name}{owner})")
                assert of_the_task[0]["value"][1] == everything[0]["value"][1]
            assert exporter.stop() == 0
