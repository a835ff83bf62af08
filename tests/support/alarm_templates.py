"""Alarm templates for the committed configuration and for others."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import ConfigError, load
from neuron_exporter.generate.alarms.alarms import alarms
from neuron_exporter.generate.alarms.rules import FLEET_RULES
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.system_section import instance_info
from tests.support.cloudformation import Stack
from tests.support.fleet import TASK
from tests.support.paths import ROOT

FLEET = ROOT / "ecs" / "exporter-fleet.yaml"
COMMITTED = ROOT / "ecs" / "alarms.yaml"

SERVICE = {"ClusterName": "here", "ServiceName": TASK.service}
"""Parameters of the alarms on the tasks of a service."""

MACHINE = instance_info(hardware("inf2.xlarge"), seed=0)["instance_id"]
"""Instance id of the first simulated machine."""


def make_template(config: Path, **options: Any) -> dict[str, Any]:
    """Return the template for a configuration."""
    return alarms(lambda flags: load(str(config), {}, flags), **options)


def committed() -> dict[str, Any]:
    """Return the committed template."""
    return deepcopy(_committed())


@cache
def _committed() -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return template


def fleet_stack(**parameters: Any) -> Stack:
    """Return the committed template for two machines of the cluster."""
    return Stack(committed(), {"ClusterName": "here", "ExpectedMachines": 2, **parameters})


def group_stack() -> Stack:
    """Return the committed template with a scaling group that counts the machines."""
    return fleet_stack(AutoScalingGroupName="machines", ExpectedMachines=0)


def machine_stack() -> Stack:
    """Return the template for one machine."""
    return Stack(make_template(FLEET, instance_id=MACHINE, instance_type="inf2.xlarge"), {})


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write a configuration file."""
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def sidecar(folder: Path, **settings: Any) -> Path:
    """Write the configuration of a sidecar."""
    document = {
        "enabled": True,
        "scope": "task",
        "include": ["ExporterHeartbeat"],
        "dimension_sets": [[*SERVICE]],
        **settings,
    }
    return write(folder, {"cloudwatch": document})


CONFIGURATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fleet": ({"dimension_sets": [["InstanceId"], ["ClusterName"]]}, {}),
    "fleet by its group": ({"dimension_sets": [["AutoScalingGroupName"]]}, {}),
    "fleet by type": (
        {"dimension_sets": [["InstanceType", "Region"]]},
        {"instance_type": "trn2.48xlarge"},
    ),
    "fleet without heartbeats": (
        {"dimension_sets": [["ClusterName"]], "exclude": ["ExporterHeartbeat"]},
        {"without": ["heartbeats"]},
    ),
    "one machine": ({}, {"instance_id": MACHINE}),
    "one machine in more sets": (
        {"dimension_sets": [["InstanceId", "ClusterName"], ["InstanceId"]]},
        {"instance_id": MACHINE},
    ),
    "every ten seconds": ({"dimension_sets": [["ClusterName"]], "flush_interval": "10s"}, {}),
    "every 45 seconds": ({"dimension_sets": [["ClusterName"]], "flush_interval": "45s"}, {}),
    "every hour": ({"dimension_sets": [["ClusterName"]], "flush_interval": "1h"}, {}),
    "extra dimensions": (
        {"dimension_sets": [["ClusterName"]], "extra_dimensions": {"Stage": "it's 100% prod: yes"}},
        {},
    ),
    "the group is an extra dimension": (
        {
            "dimension_sets": [["ClusterName"]],
            "extra_dimensions": {"AutoScalingGroupName": "machines"},
        },
        {},
    ),
    "tasks of a service": (
        {
            "scope": "task",
            "include": ["ExporterHeartbeat"],
            "dimension_sets": [["ClusterName", "ServiceName"]],
        },
        {},
    ),
    "tasks of a family": (
        {
            "scope": "task",
            "preset": "none",
            "include": ["ExporterHeartbeat", "NeuronCoreUtilization"],
            "dimension_sets": [["ClusterName", "TaskDefinitionFamily"]],
        },
        {},
    ),
    "cost alarms only": (
        {"dimension_sets": [["ClusterName"]]},
        {"without": [rule.name for rule in FLEET_RULES if rule.is_health]},
    ),
}
"""CloudWatch settings, and options of the command."""


def template_of(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """Return one of the configurations and its template."""
    settings, options = CONFIGURATIONS[name]
    document = {
        "cloudwatch": {"enabled": True, "namespace": "My/Own", **settings},
        "identity": {"auto_scaling_group": "machines"},
    }
    config = write(folder, document)
    return config, make_template(config, **{"instance_type": "inf2.xlarge", **options})


def fleet_of(folder: Path, **cloudwatch: Any) -> Path:
    """Write the configuration of a fleet."""
    settings = {"enabled": True, "dimension_sets": [["ClusterName"]], **cloudwatch}
    return write(folder, {"cloudwatch": settings})


def problems(config: Path, **options: Any) -> tuple[str, ...]:
    """Return the problems of a configuration that alarms cannot be generated for."""
    with pytest.raises(ConfigError) as caught:
        make_template(config, **{"instance_type": "inf2.xlarge", **options})
    return caught.value.problems
