"""Identity read from the machine itself: firmware, environment, installed software, devices."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from neuron_exporter.identity.fields import parse_instance_id, parse_instance_type, parse_text
from neuron_exporter.model import Machine
from neuron_exporter.text import sanitize_text

DMI_FOLDER = Path("/sys/devices/virtual/dmi/id")

ENVIRONMENT_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "node_name": ("NODE_NAME", "K8S_NODE_NAME"),
    "pod_name": ("POD_NAME", "K8S_POD_NAME"),
    "pod_namespace": ("POD_NAMESPACE", "K8S_NAMESPACE"),
    "pod_uid": ("POD_UID", "K8S_POD_UID"),
}
"""Environment variables by field; the first one that is set wins. The pod variables are the usual
names for the downward API and those of the CloudWatch agent."""

_DMI_VENDOR = "Amazon EC2"
_MAX_BYTES = 256
DRIVER_VERSION = Path("/sys/module/neuron/version")
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_TOOLS_PACKAGES = (b"Package: aws-neuronx-tools\n", b"Package: aws-neuron-tools\n")
"""The package that contains neuron-monitor; the second is its name before SDK 2.3."""

DEVICES = "/dev"
DEVICE_CLASS = "/sys/class/neuron_device"
"""Folder with the devices of the Neuron driver. Containers see all of them, because sysfs is not
separate for each. The ECS agent discovers devices there, too."""

_DEVICE = re.compile(r"neuron(\d{1,4})")


def read_dmi(folder: Path | None = None) -> Machine:
    """Return instance id and type from the firmware, or nothing if the board is not Amazon EC2's.

    Nitro writes the instance id as the board's asset tag.
    """
    folder = folder or DMI_FOLDER
    if _DMI_VENDOR not in (
        _read(folder / "board_vendor"),
        _read(folder / "sys_vendor"),
    ):
        return Machine()  # other vendors put arbitrary text into the asset tag
    return Machine(
        instance_id=parse_instance_id(_read(folder / "board_asset_tag")),
        instance_type=parse_instance_type(_read(folder / "product_name")),
    )


def read_environment(environment: Mapping[str, str]) -> Machine:
    """Return the fields that environment variables set."""
    return Machine(
        **{
            field: next((text for name in names if (text := parse_text(environment.get(name)))), "")
            for field, names in ENVIRONMENT_VARIABLES.items()
        }
    )


def driver_version(path: Path = DRIVER_VERSION) -> str:
    """Return the version of the loaded Neuron driver, or "" if it is unknown."""
    return sanitize_text(_read(path))


def _read(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()
    return ""


def tools_version(path: Path = _DPKG_STATUS) -> str:
    """Return the version of the Neuron tools in Debian's package database, or "" if unknown."""
    with suppress(OSError), path.open("rb") as file:
        in_package = False
        for line in file:
            if line.startswith(b"Package: "):
                in_package = line in _TOOLS_PACKAGES
            elif in_package and line.startswith(b"Version: "):
                return sanitize_text(line[len(b"Version: ") :].decode("utf-8", "replace").strip())
    return ""


def present_devices(folder: str = DEVICES) -> frozenset[int]:
    """Return the indices of the Neuron devices (/dev/neuronN) visible in this container."""
    return _devices_in(folder)


def driver_devices(folder: str = DEVICE_CLASS) -> frozenset[int]:
    """Return the indices of the devices of the driver, those of other containers included."""
    return _devices_in(folder)


def container_device_count(devices: str = DEVICES, device_class: str = DEVICE_CLASS) -> int | None:
    """Return the number of devices of this container if the driver has others as well.

    Returns None where /dev has all devices of the driver, and where it has none.
    """
    own = _devices_in(devices)
    return len(own) if own and _devices_in(device_class) - own else None


def _devices_in(folder: str) -> frozenset[int]:
    try:
        names = os.listdir(folder)
    except OSError:
        return frozenset()
    return frozenset(int(match[1]) for name in names if (match := _DEVICE.fullmatch(name)))
