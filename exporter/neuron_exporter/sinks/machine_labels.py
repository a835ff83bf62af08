"""Labels of the machine on the series of Prometheus and OTLP."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_exporter.model import Labels, Machine

INSTANCE_INFO = "instance_info"
"""The metric that has all labels of the machine."""


def of_series(machine: Labels, names: Sequence[str] | None) -> Labels:
    """Return those labels of the machine that are on every series: the named ones, or all."""
    return tuple(label for label in machine if names is None or label[0] in names)


def machine_labels(machine: Machine) -> Labels:
    """Return the labels that AWS's script sets on every series, without empty ones."""
    labels = (
        ("instance_name", machine.instance_name),
        ("instance_id", machine.instance_id),
        ("instance_type", machine.instance_type),
        ("availability_zone", machine.availability_zone),
        ("region", machine.region),
        ("subnet_id", machine.subnet_id),
        ("ultraserver_id", machine.ultraserver_id),
    )
    return tuple(label for label in labels if label[1])
