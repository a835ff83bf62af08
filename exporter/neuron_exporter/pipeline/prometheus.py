"""Check the labels that the configuration adds to the series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.schema import IdentityLabel
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import label_names
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS, OWNER_DIMENSIONS
from neuron_exporter.telemetry import OWN_LABELS
from neuron_exporter.text import mask_secrets

_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OF_PODS = "label_"
_DIMENSIONS = {**MACHINE_DIMENSIONS, **OWNER_DIMENSIONS}


def check_labels(loaded: LoadedConfig) -> Iterator[str]:
    """Yield the errors of `prometheus.labels` and `identity.process_labels`."""
    fixed, of_processes = loaded.config.prometheus.labels, loaded.config.identity.process_labels
    if not fixed and not of_processes:
        return
    used = {*get_args(IdentityLabel), *OWN_LABELS}.union(*map(label_names, CATALOGUE))
    for section, labels in (
        ("prometheus.labels", fixed),
        ("identity.process_labels", of_processes),
    ):
        for name, value in labels.items():
            key = f"{section}.{name}"
            if not _NAME.fullmatch(name):
                message = "must have a name of letters, digits and _, as in team or cost_center"
                yield loaded.problem(key, message)
            elif name in used or name.startswith(_OF_PODS):
                yield loaded.problem(key, "is already a label of the exporter's series")
            elif not value:
                yield loaded.problem(key, "must not be empty", value)
    for name, variable in of_processes.items():
        key = f"identity.process_labels.{name}"
        if name in fixed:
            yield loaded.problem(key, "is also set in prometheus.labels")
        if name in _DIMENSIONS or name in loaded.config.cloudwatch.extra_dimensions:
            yield loaded.problem(key, "is also a dimension of CloudWatch")
        if mask_secrets(f"{variable}=x") != f"{variable}=x":
            yield loaded.problem(key, "must not publish a secret", variable)
