"""The example workloads fit the machines that they ask for, and Karpenter can start these."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from neuron_exporter.facts.instance_types import INSTANCE_TYPES, InstanceType
from tests.support import kubernetes
from tests.support.kubernetes import K8S, Object

pytestmark = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())

POOLS = list(yaml.safe_load_all((K8S / "karpenter" / "node-pools.yaml").read_text()))

DEVICE = "aws.amazon.com/neuron"


@pytest.fixture(params=["", "inf1"], ids=["default", "inf1"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> list[Object]:
    """Return the objects of k8s/workloads, without and with the component that a comment offers."""
    folder = tmp_path / "workloads"
    shutil.copytree(K8S / "workloads", folder)
    if request.param:
        path = folder / "kustomization.yaml"
        offer = f"# components: [{request.param}]"
        assert offer in path.read_text()
        path.write_text(path.read_text().replace(offer, offer.removeprefix("# ")))
    return list(yaml.safe_load_all(kubernetes.kustomize(folder)))


def pods(objects: list[Object]) -> list[Object]:
    """Return the specifications of the Job's and the Deployment's pods."""
    found = kubernetes.pods(objects)
    assert len(found) == 2
    return found


def machine(pod: Object) -> InstanceType:
    """Return the instance type that a pod asks for."""
    return INSTANCE_TYPES[pod["nodeSelector"]["node.kubernetes.io/instance-type"]]


def families(pool: Object) -> list[str]:
    """Return the instance families of a NodePool."""
    (found,) = (
        each["values"]
        for each in pool["spec"]["template"]["spec"]["requirements"]
        if each["key"] == "karpenter.k8s.aws/instance-family"
    )
    return list(found)


def gibibytes(quantity: str) -> float:
    """Return a quantity of memory."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) / (1024 if unit == "Mi" else 1)


def test_manifests_are_valid(objects: list[Object]) -> None:
    for each in objects:
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_pods_fit_their_machines(objects: list[Object]) -> None:
    """Requests leave room for the kubelet and the exporter; limits do not exceed the machine."""
    for pod in pods(objects):
        resources = pod["containers"][0]["resources"]
        instance_type = machine(pod)
        vcpus, memory = instance_type.vcpus or 0, instance_type.memory_gib or 0
        assert float(resources["requests"]["cpu"]) <= vcpus - 1
        assert gibibytes(resources["requests"]["memory"]) <= memory - 2
        assert gibibytes(resources["limits"]["memory"]) <= memory
        assert int(resources["limits"][DEVICE]) <= (instance_type.devices or 0)


def test_programs_compile_for_their_machines(objects: list[Object]) -> None:
    """NeuronCores v1 and later ones have different compilers, and models run on one kind only."""
    for pod in pods(objects):
        target = "neuron" if machine(pod).accelerator == "inferentia" else "neuronx"
        assert f"--target={target}" in pod["containers"][0]["args"]


def test_karpenter_has_a_pool(objects: list[Object]) -> None:
    for pod in pods(objects):
        (pool,) = [each for each in POOLS if machine(pod).name.partition(".")[0] in families(each)]
        taints = {each["key"] for each in pool["spec"]["template"]["spec"]["taints"]}
        assert taints <= {each["key"] for each in pod["tolerations"]}


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool["metadata"]["name"])
def test_pool_can_start_its_largest_machine(pool: Object) -> None:
    """The limit, in devices, admits the largest type of each family."""
    members = [
        each for each in INSTANCE_TYPES.values() if each.name.partition(".")[0] in families(pool)
    ]
    assert pool["spec"]["limits"][DEVICE] >= max(each.devices or 0 for each in members)
