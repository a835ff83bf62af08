"""The sidecar of docs/ecs-sidecar.md as a container of a real Docker daemon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.docker_engine import Engine
from tests.support.fleet import CREDENTIALS
from tests.support.metadata import TASK, ecs
from tests.support.sidecar import COMMAND, METRICS, assert_three_metrics
from tests.support.task_definitions import environment_of, exporter_of
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

TASK_ID = TASK["TaskARN"].rpartition("/")[2]
SIMULATOR = "[python3, -m, neuron_exporter.simulator, --instance-type, inf1.xlarge]"


def options_of(container: Mapping[str, Any]) -> list[str]:
    """Return the options of `docker run` for a container of a task, as the ECS agent sets them.

    The machine has no Neuron device, so /dev/null takes its place, and the log driver awslogs
    needs AWS.
    """
    linux = container["linuxParameters"]
    check = container["healthCheck"]
    command, *words = check["command"]
    assert command == "CMD"
    (mounted,) = container["mountPoints"]
    (tmpfs,) = linux["tmpfs"]
    logs = container["logConfiguration"]["options"]
    return [
        f"--user={container['user']}",
        f"--cpu-shares={container['cpu']}",
        f"--memory={container['memory']}m",
        *(["--read-only"] if container["readonlyRootFilesystem"] else []),
        *(f"--cap-drop={name}" for name in linux["capabilities"]["drop"]),
        *(f"--cap-add={name}" for name in linux["capabilities"]["add"]),
        *(f"--device=/dev/null:{each['containerPath']}:rw" for each in linux["devices"]),
        f"--tmpfs={tmpfs['containerPath']}:size={tmpfs['size']}m",
        f"--volume={mounted['containerPath']}",
        f"--health-cmd={' '.join(words)}",
        "--health-interval=1s",
        f"--health-timeout={check['timeout']}s",
        f"--health-retries={check['retries']}",
        *(f"--label={name}={value}" for name, value in container["dockerLabels"].items()),
        f"--log-opt=mode={logs['mode']}",
        f"--log-opt=max-buffer-size={logs['max-buffer-size']}",
        f"--stop-timeout={container['stopTimeout']}",
    ]


def test_exactly_three_metrics_reach_cloudwatch(engine: Engine) -> None:
    """The container that `task-definition` writes, with its rights, limits and environment beside
    the agent's metadata, publishes three metrics; only source, endpoint and interval are the
    test's."""
    written = run(*COMMAND)
    assert written.status == 0, written.err
    container = exporter_of(json.loads(written.out))
    with validating_endpoint() as front, ecs() as agent:
        settings = {
            **environment_of(container),
            **CREDENTIALS,
            "ECS_CONTAINER_METADATA_URI_V4": agent.url,
            "NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor",
            "NEURON_EXPORTER__SOURCE__COMMAND": SIMULATOR,
            "NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL": front.url,
            "NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL": "5s",
        }
        with engine.container(*options_of(container), **settings) as sidecar:
            for name in METRICS:
                wait_for(lambda name=name: front.datums(name), every=0.2)
            wait_for(lambda: sidecar.health == "healthy", every=0.2)
            deep = sidecar.run("neuron-exporter", "healthcheck", "--deep")
            assert deep.stdout.startswith("healthy: "), deep.stdout
            (spool,) = sidecar.run("ls", "/var/lib/neuron-exporter").stdout.split()[:1]
            assert spool == f"sidecar-{TASK_ID}.db"
            assert sidecar.stop_within(container["stopTimeout"]) == 0
    assert_three_metrics(front)
    assert max(front.values("NeuronCoreUtilization")) > 0
