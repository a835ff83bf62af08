"""The containers of a task definition: the exporter, and the workload that it watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.instance_types import InstanceType
from neuron_exporter.generate.ecs.devices import mapped

Node = dict[str, Any]

NAME = "neuron-exporter"
PORT = 9415
LOG_GROUP = "/ecs/neuron"
SPOOL = "/var/lib/neuron-exporter"

MEMORY_MIB = 384
"""The exporter's hard limit. Exporter and supervisord were measured at 85 MiB together, with both
sinks on and reports of 445 kB; neuron-monitor gets a GOMEMLIMIT of 60 % of the limit, here 230 MiB
(AWS's own DaemonSet asks for 256 MiB and allows 500). What is left over, some 70 MiB, is for the
health check, the temporary files below, and reports larger than any that was recorded."""

CPU_UNITS = 64
"""Of 1,024 a core: what is set aside, and the weight where CPUs are short, never a limit. Such a
sidecar was seen to take 10 units, and 51 at times."""

_TEMPORARY_MIB = 16
"""Process numbers, and neuron-monitor's configuration."""

STOP_SECONDS = 30
"""The exporter takes up to 20 s to stop, its entry point waits for 25."""

_RESTART_SECONDS = 60
"""The least that ECS takes. It restarts no container that ended sooner, so that what fails at its
start is left to the supervisor inside."""

_GIVEN_UP = 2
"""The exit status with which another start would change nothing."""

_HEALTH_SECONDS = 60

_HOST_MIB = 1024
"""Left to the agent and the system (ECS_RESERVED_MEMORY=512), and to an exporter as daemon."""

_HOST_CPU_UNITS = 128
"""Left to the agent, and to an exporter as daemon."""

_KERNEL_SHARE = 0.075
"""Of a machine's memory, what its kernel never shows: the share that Karpenter takes for it."""

_UNKNOWN_CPU_UNITS = 1024
"""Of a machine whose number of CPUs is not public. More is given where nobody else wants it."""

_PUBLIC = "public.ecr.aws/neuron/"
_INFERENTIA = f"{_PUBLIC}pytorch-inference-neuron:1.13.1-neuron-py310-sdk2.20.2-ubuntu20.04"
_TRAINIUM2 = "2.5.1-neuronx-py310-sdk2.22.0-ubuntu22.04"
_TRAINIUM = "2.1.2-neuronx-py310-sdk2.20.0-ubuntu20.04"
_OF_SDK_2_20 = {
    "inference": f"{_PUBLIC}pytorch-inference-neuronx:{_TRAINIUM}",
    "compile": f"{_PUBLIC}pytorch-training-neuronx:{_TRAINIUM}",
}

IMAGES: Mapping[str | None, Mapping[str, str]] = {
    "inferentia": {"inference": _INFERENTIA, "compile": _INFERENTIA},
    "inferentia2": _OF_SDK_2_20,
    "trainium": _OF_SDK_2_20,
    "trainium2": {
        "inference": f"{_PUBLIC}pytorch-inference-neuronx:{_TRAINIUM2}",
        "compile": f"{_PUBLIC}pytorch-training-neuronx:{_TRAINIUM2}",
    },
}
"""AWS's Deep Learning Containers, by accelerator. Pinned: newer ones dropped Inf1, and both kinds
ceased in 2026. Those of SDK 2.20 are older than Trainium2."""

_SERVES_AT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a task runs: the account, and the region of image, log and bucket."""

    account: str
    region: str


def exporter(
    image: str,
    place: Place,
    devices: Sequence[int],
    settings: Mapping[str, str],
    *,
    essential: bool,
    host_port: int,
) -> Node:
    """The exporter's container.

    Args:
        settings: its configuration, values by dotted keys.
        host_port: 0 is any that is free.
    """
    return {
        "name": NAME,
        "image": image,
        "essential": essential,
        # Of the capabilities that are added only root has any, and the spool's folder is root's.
        "user": "0",
        "cpu": CPU_UNITS,
        "memory": MEMORY_MIB,
        "readonlyRootFilesystem": True,
        "environment": [
            {"name": f"NEURON_EXPORTER__{key.upper().replace('.', '__')}", "value": value}
            for key, value in settings.items()
        ],
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]},
            "devices": mapped(devices),
            "tmpfs": [{"containerPath": "/run/neuron-exporter", "size": _TEMPORARY_MIB}],
        },
        "mountPoints": [{"sourceVolume": "spool", "containerPath": SPOOL, "readOnly": False}],
        "portMappings": [{"containerPort": PORT, "hostPort": host_port, "protocol": "tcp"}],
        "restartPolicy": {
            "enabled": True,
            "ignoredExitCodes": [_GIVEN_UP],
            "restartAttemptPeriod": _RESTART_SECONDS,
        },
        "stopTimeout": STOP_SECONDS,
        "healthCheck": {
            "command": ["CMD", "neuron-exporter", "healthcheck"],
            "interval": _HEALTH_SECONDS,
            "timeout": 10,
            "retries": 3,
            "startPeriod": 60,
        },
        # What those look for who find the ports of tasks for Prometheus.
        "dockerLabels": {
            "ECS_PROMETHEUS_EXPORTER_PORT": str(PORT),
            "ECS_PROMETHEUS_METRICS_PATH": "/metrics",
            "ECS_PROMETHEUS_JOB_NAME": "neuron",
        },
        "logConfiguration": _log(place, NAME),
    }


def workload(
    what: str,
    row: InstanceType,
    place: Place,
    devices: Sequence[int],
    *,
    image: str | None,
    command: Sequence[str] | None,
    memory_mib: int | None,
) -> Node:
    """The container that uses the devices. It is essential, and depends on nobody.

    It needs no NEURON_RT_VISIBLE_CORES: the runtime sees the devices that are mapped, and no more.

    Raises:
        ConfigError: the machine's memory is not public, or too small, and none was given.
    """
    serves = [{"containerPort": _SERVES_AT, "hostPort": 0, "protocol": "tcp"}]
    program, *arguments = command or _command(what, place)
    return {
        "name": what,
        "image": image or IMAGES[row.accelerator][what],
        "essential": True,
        # In place of the image's own: that of the inference images keeps the container up after the
        # command has ended.
        "entryPoint": [program],
        "command": arguments,
        "cpu": _cpu(row, len(devices)),
        "memory": memory_mib or _memory(row, len(devices)),
        "environment": [{"name": "NEURON_PROCESS_TAG", "value": what}],
        "linuxParameters": {
            "capabilities": {"add": ["IPC_LOCK"]},
            "devices": mapped(devices),
            "initProcessEnabled": True,
        },
        **({"portMappings": serves} if what == "inference" else {}),
        "logConfiguration": _log(place, what),
    }


def bucket(place: Place) -> str:
    """The bucket of compiled models, as the stack with the roles names it."""
    return f"neuron-models-{place.account}-{place.region}"


def _command(what: str, place: Place) -> list[str]:
    return ["python3", f"/opt/workloads/{what}.py", "--model", f"s3://{bucket(place)}/model.pt"]


def _log(place: Place, prefix: str) -> Node:
    """To the log group. A log that cannot be delivered must not stop a process that writes it."""
    return {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": LOG_GROUP,
            "awslogs-region": place.region,
            "awslogs-stream-prefix": prefix,
            "mode": "non-blocking",
            "max-buffer-size": "4m",
        },
    }


def _memory(row: InstanceType, devices: int) -> int:
    """MiB of the host that go with so many devices, beside the exporter's."""
    if row.memory_gib is None or row.devices is None:
        raise ConfigError(
            [f"--memory: must be given (MiB): the memory of {row.name} is not public"]
        )
    usable = int(row.memory_gib * 1024 * (1 - _KERNEL_SHARE)) - _HOST_MIB
    return usable * devices // row.devices - MEMORY_MIB


def _cpu(row: InstanceType, devices: int) -> int:
    """CPU units that go with so many devices. Without any the exporter's weight would be more."""
    if row.vcpus is None or row.devices is None:
        return _UNKNOWN_CPU_UNITS
    return (row.vcpus * 1024 - _HOST_CPU_UNITS) * devices // row.devices - CPU_UNITS
