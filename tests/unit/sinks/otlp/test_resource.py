"""The resource has OpenTelemetry's attributes, as far as they are known."""

from __future__ import annotations

import socket

from neuron_exporter import __version__
from neuron_exporter.model import Machine
from neuron_exporter.sinks.otlp.resource import resource_attributes

SERVICE = {"service.name": "neuron-exporter", "service.version": __version__}
HOST = Machine(
    instance_id="i-1", instance_type="trn1.32xlarge", region="us-east-1", account="123456789012"
)


def test_an_instance() -> None:
    assert resource_attributes(HOST, {}) == {
        **SERVICE,
        "service.instance.id": "i-1",
        "cloud.provider": "aws",
        "cloud.platform": "aws_ec2",
        "cloud.region": "us-east-1",
        "cloud.account.id": "123456789012",
        "host.id": "i-1",
        "host.type": "trn1.32xlarge",
        "aws.neuron.device.type": "trainium",
    }


def test_a_pod() -> None:
    pod = Machine(
        instance_id="i-1",
        cluster="c",
        node_name="n",
        pod_name="p",
        pod_namespace="ns",
        pod_uid="u-1",
    )
    found = resource_attributes(pod, {})
    assert found["cloud.platform"] == "aws_eks"
    assert found["service.instance.id"] == "i-1/u-1"
    assert {name: found[name] for name in found if name.startswith("k8s")} == {
        "k8s.cluster.name": "c",
        "k8s.node.name": "n",
        "k8s.namespace.name": "ns",
        "k8s.pod.name": "p",
        "k8s.pod.uid": "u-1",
    }


def test_an_ecs_task() -> None:
    task = Machine(cluster="c", task_family="f", task_id="t-1", service="s")
    found = resource_attributes(task, {})
    assert found["cloud.platform"] == "aws_ecs"
    assert {name: found[name] for name in found if name.startswith("aws.ecs")} == {
        "aws.ecs.cluster.name": "c",
        "aws.ecs.task.family": "f",
        "aws.ecs.task.id": "t-1",
        "aws.ecs.service.name": "s",
    }


def test_an_unknown_machine_has_its_host_name() -> None:
    found = resource_attributes(Machine(), {})
    assert found == {**SERVICE, "service.instance.id": socket.gethostname()}


def test_configured_attributes_take_precedence_and_may_remove() -> None:
    extra = {"service.name": "neuron", "deployment.environment": "prod", "cloud.region": ""}
    found = resource_attributes(HOST, extra)
    assert found["service.name"] == "neuron"
    assert found["deployment.environment"] == "prod"
    assert "cloud.region" not in found
