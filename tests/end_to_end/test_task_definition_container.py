"""The exporter's container of a task definition, run without Docker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from neuron_exporter.daemon.daemon import STOP_SECONDS
from tests.support.endpoint import Endpoint
from tests.support.exporter import simulated
from tests.support.fleet import CREDENTIALS
from tests.support.metadata import ecs
from tests.support.supervised import ENTRY_POINT, supervised
from tests.support.task_definitions import committed, environment_of, exporter_of
from tests.support.waiting import wait_for

IPC_LOCK = 1 << 14
"""CAP_IPC_LOCK of linux/capability.h, as the kernel shows it."""


def test_one_capability_is_enough(tmp_path: Path, endpoint: Endpoint) -> None:
    """As root with one capability, the exporter publishes, spools, restarts after a kill, and
    stops."""
    if os.geteuid() != 0:
        pytest.skip("only root can drop its capabilities")
    container = exporter_of(committed("inf2-sidecar"))
    rights = container["linuxParameters"]["capabilities"]
    assert (container["user"], rights) == ("0", {"drop": ["ALL"], "add": ["IPC_LOCK"]})
    (volume,) = container["mountPoints"]
    environment = {
        name: value.replace(volume["containerPath"], str(tmp_path))
        for name, value in environment_of(container).items()
    }
    command = [
        *("setpriv", "--bounding-set=-all,+ipc_lock", "--inh-caps=-all"),
        *(str(ENTRY_POINT), "--config", str(tmp_path / "exporter.yaml")),
    ]
    with (
        ecs() as agent,
        supervised(
            tmp_path,
            {"source": simulated("--instance-type", "inf2.xlarge")},
            within=command,
            **CREDENTIALS,
            **environment,
            ECS_CONTAINER_METADATA_URI_V4=agent.url,
            NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL=endpoint.url,
            NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL="1s",
        ) as exporter,
    ):
        exporter.wait_for_start(1)
        status = Path(f"/proc/{exporter.exporter}/status").read_text()
        assert int(status.split("CapEff:")[1].split()[0], 16) == IPC_LOCK
        wait_for(lambda: endpoint.datums("NeuronCoreUtilization"))
        assert list(tmp_path.glob("sidecar-*.db"))
        os.kill(exporter.exporter, signal.SIGKILL)
        exporter.wait_for_start(2)
        assert exporter.stop() == 0
    assert container["stopTimeout"] > STOP_SECONDS
