"""The resource of all points: this exporter, its machine, and its task or pod.

Names are those of OpenTelemetry's semantic conventions (1.37: service, host, cloud, k8s, aws.ecs).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from neuron_exporter import __version__
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.model import Machine

SERVICE_NAME = "neuron-exporter"


def resource_attributes(machine: Machine, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the known attributes; those of `extra` take precedence."""
    instance_type = INSTANCE_TYPES.get(machine.instance_type)
    found = {
        "service.name": SERVICE_NAME,
        "service.version": __version__,
        "service.instance.id": _instance_id(machine),
        "cloud.provider": "aws" if machine.instance_id or machine.task_id else "",
        "cloud.platform": _platform(machine),
        "cloud.region": machine.region,
        "cloud.availability_zone": machine.availability_zone,
        "cloud.account.id": machine.account,
        "host.id": machine.instance_id,
        "host.type": machine.instance_type,
        "host.name": machine.instance_name,
        "aws.neuron.device.type": (instance_type and instance_type.accelerator) or "",
    }
    if machine.pod_name or machine.node_name:
        found |= {
            "k8s.cluster.name": machine.cluster,
            "k8s.node.name": machine.node_name,
            "k8s.namespace.name": machine.pod_namespace,
            "k8s.pod.name": machine.pod_name,
            "k8s.pod.uid": machine.pod_uid,
        }
    elif machine.task_id:
        found |= {
            "aws.ecs.cluster.name": machine.cluster,
            "aws.ecs.task.family": machine.task_family,
            "aws.ecs.task.id": machine.task_id,
            "aws.ecs.service.name": machine.service,
        }
    return {name: value for name, value in {**found, **extra}.items() if value}


def _instance_id(machine: Machine) -> str:
    """Return an ID that is unique among all exporters, even on one machine."""
    own = machine.task_id or machine.pod_uid
    host = machine.instance_id or machine.node_name or socket.gethostname()
    return f"{host}/{own}" if own else host


def _platform(machine: Machine) -> str:
    if machine.pod_name or machine.node_name:
        return "aws_eks"
    if machine.task_id:
        return "aws_ecs"
    return "aws_ec2" if machine.instance_id else ""
