"""Alerting rules, one module per group.

Each expression looks at a window rather than at one scrape: a failed scrape ends all series of its
target for a moment, which would restart an alert's `for` period.
"""

from __future__ import annotations

from grafana.rules_src.alerts import (
    availability,
    configuration,
    exporter,
    hardware,
    owners,
    publishing,
    workloads,
)
from grafana.rules_src.model import Group

GROUPS = (
    Group("neuron-sight", availability.ALERTS),
    Group("neuron-hardware", hardware.ALERTS),
    Group("neuron-work", workloads.ALERTS),
    Group("neuron-owners", owners.ALERTS),
    Group("neuron-publishing", publishing.ALERTS),
    Group("neuron-exporters", exporter.ALERTS),
    Group("neuron-configuration", configuration.ALERTS),
)
