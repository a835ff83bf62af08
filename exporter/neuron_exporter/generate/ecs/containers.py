"""The containers of a task definition: the exporter and the workload that it monitors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.instance_types import InstanceType
from neuron_exporter.facts.partitions import Partition, partition_of
from neuron_exporter.generate.ecs.devices import device_mappings

Node = dict[str, Any]

NAME = "neuron-exporter"
LOG_GROUP = "/ecs/neuron"
SPOOL = "/var/lib/neuron-exporter"

IN_IMAGE, ON_HOST = "image", "host"
"""Where neuron-monitor is."""

TOOLS = "/opt/aws/neuron"
"""Where AWS's package installs it; amazon-ecs-ami installs it in its images for Neuron
(scripts/enable-ecs-agent-inferentia-support.sh)."""

TOOLS_VOLUME: Node = {"name": "neuron-tools", "host": {"sourcePath": TOOLS}}

MEMORY_MIB = 384
"""Hard limit of the exporter's container. Exporter and supervisord were measured at 90 MiB, with
both sinks and reports of 445 kB. neuron-monitor gets a GOMEMLIMIT of 60 % of the limit, here
230 MiB (AWS's manifests limit it to 256 MiB, its newer chart to 500). The remaining 70 MiB are for
the health check, the temporary files below, and reports larger than any recorded one."""

CPU_UNITS = 64
"""1,024 units are one core. They are a reservation and a weight when CPUs are busy, not a limit.
A sidecar was measured at 10 units, with peaks of 51."""

_TEMPORARY_MIB = 16
"""For pid files and neuron-monitor's configuration."""

STOP_SECONDS = 30
"""The exporter needs up to 20 s to stop, and its entry point waits up to 25 s."""

_RESTART_SECONDS = 60
"""The minimum of ECS, which does not restart a container that ended sooner. The supervisor in the
container restarts an exporter that fails at start."""

_CONFIG_ERROR = 2
"""Exit status after which a restart would not help."""

_HEALTH_SECONDS = 60

_HOST_MIB = 1024
"""Reserved for the agent and the system (ECS_RESERVED_MEMORY=512), and an exporter daemon."""

_HOST_CPU_UNITS = 128
"""Reserved for the agent and an exporter daemon."""

_KERNEL_SHARE = 0.075
"""Share of the machine's memory that the kernel does not show; Karpenter assumes the same."""

_UNKNOWN_CPU_UNITS = 1024
"""For a machine whose number of CPUs is not public. Idle CPUs can be used beyond it."""

_PUBLIC = "public.ecr.aws/neuron/"
_INFERENTIA = f"{_PUBLIC}pytorch-inference-neuron:1.13.1-neuron-py310-sdk2.20.2-ubuntu20.04"
_TRAINIUM2 = "2.5.1-neuronx-py310-sdk2.22.0-ubuntu22.04"
_TRAINIUM = "2.1.2-neuronx-py310-sdk2.20.0-ubuntu20.04"
_SDK_2_20_IMAGES = {
    "inference": f"{_PUBLIC}pytorch-inference-neuronx:{_TRAINIUM}",
    "compile": f"{_PUBLIC}pytorch-training-neuronx:{_TRAINIUM}",
}

IMAGES: Mapping[str | None, Mapping[str, str]] = {
    "inferentia": {"inference": _INFERENTIA, "compile": _INFERENTIA},
    "inferentia2": _SDK_2_20_IMAGES,
    "trainium": _SDK_2_20_IMAGES,
    "trainium2": {
        "inference": f"{_PUBLIC}pytorch-inference-neuronx:{_TRAINIUM2}",
        "compile": f"{_PUBLIC}pytorch-training-neuronx:{_TRAINIUM2}",
    },
}
"""AWS's Deep Learning Containers, by accelerator. They are pinned, since newer ones dropped Inf1
and both kinds ended in 2026. Those of SDK 2.20 are older than Trainium2."""

_INFERENCE_PORT = 8080


class DeploymentTarget(NamedTuple):
    """Account of a task, and region of its image, log and bucket."""

    account: str
    region: str

    @property
    def partition(self) -> Partition:
        """The partition of AWS, which has a domain of its own and is named in ARNs."""
        return partition_of(self.region)


def exporter(
    image: str,
    target: DeploymentTarget,
    devices: Sequence[int],
    environment: Mapping[str, str],
    *,
    essential: bool,
    port: int,
    host_port: int,
    tools: str = IN_IMAGE,
) -> Node:
    """Return the exporter's container, which listens on `port`. A `host_port` of 0 is any free
    port."""
    mounts: list[Node] = [{"sourceVolume": "spool", "containerPath": SPOOL, "readOnly": False}]
    if tools == ON_HOST:
        mounts.append(
            {"sourceVolume": TOOLS_VOLUME["name"], "containerPath": TOOLS, "readOnly": True}
        )
    return {
        "name": NAME,
        "image": image,
        "essential": essential,
        # Added capabilities take effect for root only, and root owns the spool directory.
        "user": "0",
        "cpu": CPU_UNITS,
        "memory": MEMORY_MIB,
        "readonlyRootFilesystem": True,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]},
            "devices": device_mappings(devices),
            "tmpfs": [{"containerPath": "/run/neuron-exporter", "size": _TEMPORARY_MIB}],
        },
        "mountPoints": mounts,
        "portMappings": [{"containerPort": port, "hostPort": host_port, "protocol": "tcp"}],
        "restartPolicy": {
            "enabled": True,
            "ignoredExitCodes": [_CONFIG_ERROR],
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
        # Labels of the usual service discoveries of Prometheus for ECS.
        "dockerLabels": {
            "ECS_PROMETHEUS_EXPORTER_PORT": str(port),
            "ECS_PROMETHEUS_METRICS_PATH": "/metrics",
            "ECS_PROMETHEUS_JOB_NAME": "neuron",
        },
        "logConfiguration": _log(target, NAME),
    }


def workload(
    name: str,
    row: InstanceType,
    target: DeploymentTarget,
    devices: Sequence[int],
    *,
    image: str | None,
    command: Sequence[str] | None,
    memory_mib: int | None,
) -> Node:
    """Return the workload's container. It is essential and depends on no other container.

    It does not need NEURON_RT_VISIBLE_CORES, since the runtime sees only the mapped devices.

    Raises:
        ConfigError: the machine's memory is not public, and `memory_mib` is not set.
    """
    ports = [{"containerPort": _INFERENCE_PORT, "hostPort": 0, "protocol": "tcp"}]
    model = f"s3://{bucket(target)}/model.pt"
    program, *arguments = command or ("python3", f"/opt/workloads/{name}.py", "--model", model)
    return {
        "name": name,
        "image": image or IMAGES[row.accelerator][name],
        "essential": True,
        # Replaces the entry point of the inference images, which keeps the container running
        # after the command has ended.
        "entryPoint": [program],
        "command": arguments,
        "cpu": _cpu(row, len(devices)),
        "memory": memory_mib or _memory(row, len(devices)),
        "environment": [{"name": "NEURON_PROCESS_TAG", "value": name}],
        "linuxParameters": {
            "capabilities": {"add": ["IPC_LOCK"]},
            "devices": device_mappings(devices),
            "initProcessEnabled": True,
        },
        **({"portMappings": ports} if name == "inference" else {}),
        "logConfiguration": _log(target, name),
    }


def bucket(target: DeploymentTarget) -> str:
    """Return the name of the bucket for compiled models, as in the stack with the roles."""
    return f"neuron-models-{target.account}-{target.region}"


def _log(target: DeploymentTarget, prefix: str) -> Node:
    """Return the log configuration. Undeliverable logs must not block the process."""
    return {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": LOG_GROUP,
            "awslogs-region": target.region,
            "awslogs-stream-prefix": prefix,
            "mode": "non-blocking",
            "max-buffer-size": "4m",
        },
    }


def _memory(row: InstanceType, devices: int) -> int:
    """Return the workload's share of the host memory for so many devices (MiB)."""
    if row.memory_gib is None or row.devices is None:
        problem = f"--memory: must be set (MiB), since the memory of {row.name} is not public"
        raise ConfigError([problem])
    usable = int(row.memory_gib * 1024 * (1 - _KERNEL_SHARE)) - _HOST_MIB
    return usable * devices // row.devices - MEMORY_MIB


def _cpu(row: InstanceType, devices: int) -> int:
    """Return the workload's share of the CPU units for so many devices. Without a
    share, the workload would have less weight than the exporter."""
    if row.vcpus is None or row.devices is None:
        return _UNKNOWN_CPU_UNITS
    return (row.vcpus * 1024 - _HOST_CPU_UNITS) * devices // row.devices - CPU_UNITS
