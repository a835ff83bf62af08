"""Core owners from the built image on an ECS machine, read through a real Prometheus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import metadata
from tests.support.cgroups import process_in
from tests.support.children import script
from tests.support.container import Image, container
from tests.support.reports import cores, executions, report, runtime
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.image, pytest.mark.usefixtures("needs_prometheus")]

TASK, TRAINER = "158d1c8083dd49d6b527399fd6414f5c", "1" * 64
MONITOR, REPORT = "/opt/monitor", "/opt/report.json"
SETTINGS = {
    "NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor",
    "NEURON_EXPORTER__SOURCE__COMMAND": f"[{MONITOR}]",
    "NEURON_EXPORTER__SOURCE__PERIOD": "1s",
}


def monitor(folder: Path, pid: int) -> dict[str, Path]:
    """Return the mounts that give the image a neuron-monitor reporting one process."""
    busy = runtime(
        pid,
        "app",
        neuroncore_counters=cores(_0=50, _1=0, _2=0, _3=0),
        execution_stats=executions(10),
    )
    path = folder / "report.json"
    path.write_text(json.dumps(report(busy)) + "\n")
    return {
        REPORT: path,
        MONITOR: script(folder / "monitor", f"while sleep 0.5; do cat {REPORT}; done"),
    }


def labels(found: list[dict[str, Any]]) -> set[tuple[str | None, ...]]:
    """Return the owner labels of series: family, container, service."""
    names = ("task_family", "container", "service")
    return {tuple(each["metric"].get(name) for name in names) for each in found}


def test_sidecar_labels(image: Image, tmp_path: Path) -> None:
    """Beside ECS's metadata endpoint, under supervisord, cores and executions carry the task's
    family, service and container."""
    devices = {}
    for index in (0, 1):
        (tmp_path / f"neuron{index}").touch()
        devices[f"/dev/neuron{index}"] = tmp_path / f"neuron{index}"
    with (
        metadata.ecs() as agent,
        container(
            image,
            tmp_path,
            mounts={**monitor(tmp_path, 700), **devices},
            ECS_CONTAINER_METADATA_URI_V4=agent.url,
            **SETTINGS,
        ) as sidecar,
        prometheus_server(tmp_path, sidecar.url.removeprefix("http://")) as prometheus,
    ):
        for name in ("neuroncore_utilization_ratio", "execution_status_total"):
            found = wait_for(lambda name=name: prometheus.query(name))
            assert labels(found) == {("resnet", "app", "resnet-inference")}
        assert sidecar.stop() == 0


def test_daemon_labels(image: Image, tmp_path: Path) -> None:
    """With the host's process ids, beside the agent's endpoint, a process carries the family and
    container of its task."""
    described = metadata.agent_task("train", TASK, {TRAINER: "trainer"})
    alone = metadata.respond({**metadata.TASK, "Containers": [metadata.OWN_CONTAINER]})
    with (
        process_in(f"/ecs/{TASK}/{TRAINER}") as pid,
        metadata.ecs(alone) as task,
        metadata.agent_server(described) as agent,
        container(
            image,
            tmp_path,
            mounts=monitor(tmp_path, pid),
            host_pids=True,
            ECS_CONTAINER_METADATA_URI_V4=task.url,
            NEURON_EXPORTER_ECS_AGENT=agent.url,
            **SETTINGS,
        ) as daemon,
        prometheus_server(tmp_path, daemon.url.removeprefix("http://")) as prometheus,
    ):
        found = wait_for(lambda: prometheus.query("execution_status_total"))
        assert labels(found) == {("train", "trainer", None)}
        assert daemon.stop() == 0
