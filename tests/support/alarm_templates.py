"""Templates with alarms, for the committed configuration and for others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from neuron_exporter.config import load
from neuron_exporter.generate.alarms import rules as alarm_rules
from neuron_exporter.generate.alarms.alarms import Asked, alarms
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.system_section import instance_info
from tests.support.cloudformation import Stack
from tests.support.paths import ROOT

FLEET = ROOT / "ecs" / "exporter-fleet.yaml"
COMMITTED = ROOT / "ecs" / "alarms.yaml"

MACHINE = instance_info(hardware("inf2.xlarge"), seed=0)["instance_id"]
"""The first of the simulated machines."""


def made(config: Path, **asked: Any) -> dict[str, Any]:
    """The template for a configuration."""
    return alarms(lambda flags: load(str(config), {}, flags), Asked(**asked))


def committed() -> dict[str, Any]:
    """The committed template."""
    template: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return template


def fleet_stack(**parameters: Any) -> Stack:
    """The committed template, for two machines of the cluster."""
    return Stack(committed(), {"ClusterName": "here", "ExpectedMachines": 2, **parameters})


def group_stack() -> Stack:
    """The committed template, where the scaling group knows how many machines there are."""
    return fleet_stack(AutoScalingGroupName="machines", ExpectedMachines=0)


def machine_stack() -> Stack:
    """The template for one machine."""
    return Stack(made(FLEET, instance_id=MACHINE, instance_type="inf2.xlarge"), {})


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """A configuration."""
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


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
    "only a matter of money": (
        {"dimension_sets": [["ClusterName"]]},
        {"without": [rule.name for rule in alarm_rules.FLEET if rule.unhealthy]},
    ),
}
"""Settings of CloudWatch, and what is asked for with them."""


def template_of(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """One of the configurations, and the template for it."""
    settings, asked = CONFIGURATIONS[name]
    document = {
        "cloudwatch": {"enabled": True, "namespace": "My/Own", **settings},
        "identity": {"auto_scaling_group": "machines"},
    }
    config = write(folder, document)
    return config, made(config, **{"instance_type": "inf2.xlarge", **asked})
