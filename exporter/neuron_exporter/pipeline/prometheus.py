"""Check the labels that the configuration adds to Prometheus series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.schema import IdentityLabel
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import label_names
from neuron_exporter.telemetry import OWN_LABELS

_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OF_PODS = "label_"


def check_labels(loaded: LoadedConfig) -> Iterator[str]:
    """Yield the errors of `prometheus.labels`."""
    labels = loaded.config.prometheus.labels
    if not labels:
        return
    used = {*get_args(IdentityLabel), *OWN_LABELS}.union(*map(label_names, CATALOGUE))
    for name, value in labels.items():
        key = f"prometheus.labels.{name}"
        if not _NAME.fullmatch(name):
            message = "must have a name of letters, digits and _, as in team or cost_center"
            yield loaded.problem(key, message)
        elif name in used or name.startswith(_OF_PODS):
            yield loaded.problem(key, "is a label of the exporter's series")
        elif not value:
            yield loaded.problem(key, "must not be empty", value)
