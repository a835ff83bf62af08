"""The Neuron devices that are present in this container, or on this machine: /dev/neuronN."""

from __future__ import annotations

import os
import re

_DEVICE = re.compile(r"neuron(\d{1,4})")


def devices(folder: str = "/dev") -> frozenset[int]:
    """Their indices; none where the folder cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return frozenset()
    return frozenset(int(found[1]) for name in names if (found := _DEVICE.fullmatch(name)))
