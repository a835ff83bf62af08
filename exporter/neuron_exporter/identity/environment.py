"""What the environment tells: AWS's variables, and those that a pod is given about itself."""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.identity.fields import text
from neuron_exporter.model import Machine

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "node_name": ("NODE_NAME", "K8S_NODE_NAME"),
    "pod_name": ("POD_NAME", "K8S_POD_NAME"),
    "pod_namespace": ("POD_NAMESPACE", "K8S_NAMESPACE"),
    "pod_uid": ("POD_UID", "K8S_POD_UID"),
}
"""Fields, and the variables that may hold them, the first that is set first. Those of pods are the
names that the downward API is mostly given, and those of CloudWatch's agent."""


def read(environment: Mapping[str, str]) -> Machine:
    """The fields that the variables hold."""
    return Machine(
        **{
            field: next((told for name in names if (told := text(environment.get(name)))), "")
            for field, names in VARIABLES.items()
        }
    )
