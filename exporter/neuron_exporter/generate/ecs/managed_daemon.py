"""The daemon task definition of ECS Managed Daemons, for `RegisterDaemonTaskDefinition`.

ECS runs one such daemon on each machine of a Managed Instances capacity provider. The sources are
botocore 1.44.8 (its model and texts) and the page "Task definitions for AWS Neuron machine learning
workloads" of the ECS guide. None of this was run on AWS.
"""

from __future__ import annotations

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.instance_types import InstanceType
from neuron_exporter.generate.ecs.containers import Node
from neuron_exporter.generate.ecs.settings import Explain

_LEFT_OUT = ("portMappings", "dockerLabels", "healthCheck")
"""The API does not have the first two. ECS drains the machine of an unhealthy critical daemon, with
the workloads that run on it, so that a health check would put them at risk."""

_EC2_ONLY = "inferentia"
"""The accelerator that Managed Instances do not support (ECS guide)."""

_RETRY = {"name": "NEURON_EXPORTER_RETRY_SECONDS", "value": "60"}
"""The image's entry point starts anew instead of exiting with 2, which would end the daemon."""


def check_managed(row: InstanceType) -> None:
    """Check that Managed Instances support this type.

    Raises:
        ConfigError: they do not.
    """
    if row.accelerator == _EC2_ONLY:
        raise ConfigError(
            ["--instance-type: ECS supports Inf1 on EC2 capacity only, not on Managed Instances: "
             f"use --launch daemon (got {row.name!r})"]
        )  # fmt: skip


def as_managed(definition: Node, row: InstanceType, explain: Explain) -> Node:
    """Return the daemon task definition that corresponds to the one for EC2, and explain how they
    differ and how to run it."""
    (exporter,) = definition["containerDefinitions"]
    container = {key: value for key, value in exporter.items() if key not in _LEFT_OUT}
    container["environment"] = [*exporter["environment"], _RETRY]
    restarts = exporter["restartPolicy"].items()
    # Whatever its status, a container that ECS does not restart ends the daemon.
    container["restartPolicy"] = {
        key: value for key, value in restarts if key != "ignoredExitCodes"
    }
    for line in _explanations(row):
        explain(line)
    kept = ("family", "executionRoleArn", "taskRoleArn", "volumes")
    return {**{key: definition[key] for key in kept}, "containerDefinitions": [container]}


def _explanations(row: InstanceType) -> tuple[str, ...]:
    return (
        "none of this was run on AWS: the definition fits botocore's model of "
        "RegisterDaemonTaskDefinition",
        "a managed daemon has no pidMode host: cores have no owners, and runtimes no CPU shares",
        "it has no port mappings and no host network: it is unknown whether Prometheus can reach "
        "it, so publish to CloudWatch",
        f"the capacity provider must launch {row.name} only: the container maps the devices of "
        f"that type ({row.devices}), and a missing one would keep it from starting",
        "map the devices of workloads by name, too: AWS's guide rules out mixing this with "
        "resourceRequirements",
        "create the daemon with --no-critical: otherwise ECS drains and replaces the machine if "
        "the exporter's container ends",
    )
