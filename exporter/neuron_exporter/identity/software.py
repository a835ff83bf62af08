"""Which versions of Neuron's driver and tools this machine has, as far as its files tell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from neuron_exporter.text import clean

_DRIVER = Path("/sys/module/neuron/version")
_DPKG = Path("/var/lib/dpkg/status")
_PACKAGES = (b"Package: aws-neuronx-tools\n", b"Package: aws-neuron-tools\n")
"""The package that has neuron-monitor, and its name before SDK 2.3."""


def driver_version(path: Path = _DRIVER) -> str:
    """The loaded driver's version; empty where there is none, or it does not tell."""
    with suppress(OSError):
        return clean(path.read_bytes().decode("utf-8", "replace").strip())
    return ""


def tools_version(path: Path = _DPKG) -> str:
    """The installed tools' version by Debian's package database; empty where it is not known."""
    with suppress(OSError), path.open("rb") as file:
        in_package = False
        for line in file:
            if line.startswith(b"Package: "):
                in_package = line in _PACKAGES
            elif in_package and line.startswith(b"Version: "):
                return clean(line[len(b"Version: ") :].decode("utf-8", "replace").strip())
    return ""
