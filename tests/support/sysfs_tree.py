"""Trees of files like those of the Neuron driver below /sys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

POWER = "POWER_STATUS_VALID,1759968000,10.50,31.00,20.25"

_MOVED = {"stats/hardware": "health/ecc", "stats/power": "power_usage", "neuron_core": "cores/nc"}
"""Invented places for the tree of a driver that has moved its files: where driver 2.31 has them is
not published."""


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
    for device in devices:
        files = {
            "core_count": str(cores),
            "connected_devices": "1, 3",
            "uevent": "MAJOR=240",
            "power/control": "auto",
            "info/serial_number": "9ff5434815c8bd80",
            "info/notify_delay": "-1",
            "info/architecture/arch_type": "NDv2",
            "stats/power/utilization": POWER,
            "stats/memory_usage/host_mem/total": "4096",
            "stats/memory_usage/host_mem/tensors/peak": "0",
        }
        for name in (
            "mem_ecc_uncorrected",
            "mem_ecc_repairable_uncorrected",
            "sram_ecc_uncorrected",
        ):
            files[f"stats/hardware/{name}"] = str((ecc or {}).get((device, name), 0))
        for core in range(cores):
            below = f"neuron_core{core}"
            files[f"{below}/info/architecture/arch_type"] = "NCv2"
            files[f"{below}/stats/status/hw_hbm_ue_error/total"] = "0"
            files[f"{below}/stats/status/execute_failed_to_queue/present"] = "0"
            files[f"{below}/stats/memory_usage/device_mem/tensors/total"] = "0"
            files[f"{below}/stats/other_info/reset_req_count/total"] = "0"
        for path, text in files.items():
            place = _moved(path) if is_moved else path
            file = root / f"neuron{device}" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
    return root


def _moved(path: str) -> str:
    for old, new in _MOVED.items():
        if path.startswith(old):
            return new + path.removeprefix(old)
    return path
