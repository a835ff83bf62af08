"""Trees of files like those of the Neuron driver below /sys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from neuron_exporter.facts.driver_files import DEVICE_FILES, UNHEALTHY
from neuron_exporter.simulator.sysfs import ARCHITECTURES, Tree, idle_device

POWER = "POWER_STATUS_VALID,1759968000,10.50,31.00,20.25"

_SERIAL_NUMBER = "9ff5434815c8bd80"


def write_tree(
    root: Path,
    devices: Iterable[int],
    cores: int = 2,
    ecc: Mapping[tuple[int, str], int] | None = None,
    *,
    is_moved: bool = False,
) -> Path:
    """Write the files of these devices in the layout of drivers up to 2.30, or with other paths.

    Args:
        cores: physical cores of a device.
        ecc: totals by device and name; the others are 0.
    """
    architecture = ARCHITECTURES["trainium2" if cores == 8 else "trainium"]
    files = {
        device: {
            **idle_device(architecture, device, cores),
            "info/serial_number": f"{_SERIAL_NUMBER}\n",
            "stats/power/utilization": f"{POWER}\n",
        }
        for device in devices
    }
    for (device, name), total in (ecc or {}).items():
        files[device][f"stats/hardware/{name}"] = f"{total}\n"
    Tree(root, "moved" if is_moved else "old").write(files)
    return root


def write_health(root: Path, device: int, text: str) -> Path:
    """Write the driver's file on the health of a device."""
    path = root / f"neuron{device}" / DEVICE_FILES[UNHEALTHY]
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path
