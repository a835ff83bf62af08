"""The committed task definitions, and how they are generated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from neuron_exporter.generate.ecs.task_definition import task_definition
from tests.support.paths import ROOT

FOLDER = ROOT / "ecs" / "task-definitions"

_IMAGE = "--workload-image 123456789012.dkr.ecr.us-east-1.amazonaws.com/neuron-workloads"

EXAMPLES = {
    "inf1-sidecar": f"inf1.24xlarge --with inference --launch sidecar --devices 0 {_IMAGE}:inf1",
    "inf2-sidecar": f"inf2.xlarge --with inference --launch sidecar {_IMAGE}:sdk2.20.0",
    "trn1-sidecar": f"trn1.2xlarge --with compile --launch sidecar {_IMAGE}:sdk2.20.0",
    "trn1n-sidecar": "trn1n.32xlarge --with compile --launch sidecar --devices all "
    f"{_IMAGE}:sdk2.20.0",
    "trn2-sidecar": "trn2.48xlarge --with inference --launch sidecar --devices 0-3 "
    f"{_IMAGE}:sdk2.22.0",
    "inf1-daemon": "inf1.24xlarge --with none --launch daemon",
    "inf2-daemon": "inf2.48xlarge --with none --launch daemon",
    "trn1-daemon": "trn1.32xlarge --with none --launch daemon",
    "trn1n-daemon": "trn1n.32xlarge --with none --launch daemon",
    "trn2-daemon": "trn2.48xlarge --with none --launch daemon",
}
"""File names without suffix, and the flags after `--instance-type`."""

MANAGED = {"inf2-managed-daemon": "inf2.48xlarge --with none --launch managed-daemon"}
"""The same for the API of Managed Daemons."""

Node = dict[str, Any]


def committed(name: str) -> Node:
    """Return a committed definition."""
    definition: Node = json.loads((FOLDER / f"{name}.json").read_text())
    return definition


def make_definition(
    instance_type: str, workload: str, launch: str, devices: str | None = None
) -> Node:
    """Generate a definition."""
    return task_definition(
        instance_type=instance_type, workload=workload, launch=launch, devices=devices
    )


def exporter_of(definition: Mapping[str, Any]) -> Node:
    """Return the exporter's container."""
    (found,) = [
        each for each in definition["containerDefinitions"] if each["name"] == "neuron-exporter"
    ]
    return dict(found)


def environment_of(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a container."""
    return {each["name"]: each["value"] for each in container["environment"]}


def problems_of(definition: Node) -> str:
    """Return what botocore's model of the operation for Managed Daemons finds wrong, unknown keys
    included."""
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterDaemonTaskDefinition").input_shape
    return str(ParamValidator().validate(definition, shape).generate_report())
