"""The nodes on which the DaemonSet runs: Neuron nodes of today and of the future, and no others."""

from __future__ import annotations

import pytest

from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from tests.support import kubernetes
from tests.support.node_affinity import selects

KARPENTER, AUTO_MODE = "karpenter.k8s.aws", "eks.amazonaws.com"

pytestmark = pytest.mark.skipif(bool(kubernetes.missing()), reason=kubernetes.missing())


def node(instance_type: str, **more: str) -> dict[str, str]:
    """Return the labels that the kubelet and the cloud controller set on every node."""
    return {
        "beta.kubernetes.io/instance-type": instance_type,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "ip-10-0-0-1.ec2.internal",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/zone": "us-east-1a",
        **more,
    }


def provisioned(
    by: str, instance_type: str, manufacturer: str = "", accelerator: str = ""
) -> dict[str, str]:
    """Return the labels of a node that Karpenter or EKS Auto Mode launched."""
    family, _, size = instance_type.partition(".")
    labels = {f"{by}/instance-family": family, f"{by}/instance-size": size}
    if manufacturer:
        labels[f"{by}/instance-accelerator-manufacturer"] = manufacturer
        labels[f"{by}/instance-accelerator-name"] = accelerator
    return node(instance_type, **labels, **{"karpenter.sh/nodepool": "default"})


TODAY = {
    **{f"{name} in a node group": node(name) for name in INSTANCE_TYPES},
    **{f"{name} of HyperPod": node(f"ml.{name}") for name in INSTANCE_TYPES},
    **{f"{name} of Karpenter": provisioned(KARPENTER, name, "aws") for name in INSTANCE_TYPES},
    **{f"{name} of Auto Mode": provisioned(AUTO_MODE, name, "aws") for name in INSTANCE_TYPES},
    "an older Karpenter": provisioned(KARPENTER, "trn1.32xlarge"),
}

FUTURE = {
    "Karpenter": provisioned(KARPENTER, "trn4.96xlarge", "aws", "trainium4"),
    "Karpenter, new name": provisioned(KARPENTER, "n1x.metal", "aws", "neuron"),
    "Auto Mode": provisioned(AUTO_MODE, "inf3.2xlarge", "aws", "inferentia3"),
    "Karpenter, new size": provisioned(KARPENTER, "inf2.96xlarge"),
    "device plugin": node("trn4.96xlarge", **{"neuron.amazonaws.com/present": "true"}),
    "NFD": node("trn4.96xlarge", **{"feature.node.kubernetes.io/aws-neuron": "true"}),
}

OTHERS = {
    "CPU": node("m7i.2xlarge"),
    "CPU of Karpenter": provisioned(KARPENTER, "c8g.large"),
    "CPU of Auto Mode": provisioned(AUTO_MODE, "r7a.large"),
    "GPU": node("p5.48xlarge", **{"nvidia.com/gpu.present": "true"}),
    "GPU of Karpenter": provisioned(KARPENTER, "g6e.2xlarge", "nvidia", "l40s"),
    "GPU of Auto Mode": provisioned(AUTO_MODE, "p6-b200.48xlarge", "nvidia", "b200"),
    "GPU of AMD": provisioned(KARPENTER, "g4ad.xlarge", "amd", "radeon-pro-v520"),
    "Gaudi": provisioned(KARPENTER, "dl1.24xlarge", "habana", "gaudi-hl-205"),
    "GPU with NFD": node(
        "g5.xlarge", **{"feature.node.kubernetes.io/pci-0302_10de.present": "true"}
    ),
    "another vendor's FPGA": provisioned(KARPENTER, "f2.6xlarge", "xilinx", "vu47p"),
    "a name like Trainium's": node("t4g.large"),
    "a virtual node": {"kubernetes.io/os": "linux", "eks.amazonaws.com/compute-type": "fargate"},
    "another machine of the cluster": {"kubernetes.io/hostname": "worker-1"},
    "no longer present": node("m7i.2xlarge", **{"neuron.amazonaws.com/present": "false"}),
}


@pytest.mark.parametrize("overlay", kubernetes.EXPORTERS)
def test_selected_nodes(overlay: str) -> None:
    pod = kubernetes.pod(kubernetes.rendered(overlay))
    if "affinity" not in pod:
        assert overlay == "overlays/simulator", "it needs no Neuron node"
        return
    missed = [
        name for name, labels in (TODAY | FUTURE).items() if not selects(pod["affinity"], labels)
    ]
    wrong = [name for name, labels in OTHERS.items() if selects(pod["affinity"], labels)]
    assert (missed, wrong) == ([], [])
