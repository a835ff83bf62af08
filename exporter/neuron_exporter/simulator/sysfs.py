"""The driver's files: their paths, and a directory in which each is replaced as a whole.

Paths and forms are those of AWS's driver (aws-neuron/aws-neuron-driver 9cc489e:
neuron_sysfs_metrics.c, neuron_power.c, neuron_cdev.c), which are those of drivers up to 2.30.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.facts.driver_files import (
    DEVICE_MEMORY,
    ECC_KINDS,
    HOST_MEMORY,
    OTHER_COUNTERS,
    STATUSES,
)

LAYOUTS: Mapping[str, Mapping[str, str]] = {
    "old": {},
    "moved": {
        "stats/hardware": "health/ecc",
        "stats/power": "power_usage",
        "neuron_core": "cores/nc",
    },
}
"""Beginnings of paths that differ from those of drivers up to 2.30, by layout. Driver 2.31 has
moved files to places that are not published; those of `moved` are invented."""

_TENSOR_ENGINE = "xrow_grp,mm_active,wl_active,idle\n" + "".join(f"{n},0,0,0\n" for n in range(4))


class Architecture(NamedTuple):
    """Names by which the driver calls an accelerator, and whether it has its health."""

    device: str
    core: str
    instance: str
    name: str
    has_health: bool = False


ARCHITECTURES = {
    "inferentia2": Architecture("NDv3", "NCv2", "Inf2", "Inferentia2"),
    "trainium": Architecture("NDv2", "NCv2", "Trn1", "Trainium1"),
    "trainium2": Architecture("NDv3", "NCv3", "Trn2", "Trainium2", has_health=True),
}


def idle_device(architecture: Architecture, device: int, cores: int) -> dict[str, str]:
    """Return the files of a device whose counters are all 0, by path below its directory.

    Args:
        cores: number of physical cores.
    """
    files = {
        "core_count": f"{cores}",  # the driver writes no newline
        "connected_devices": "\n",
        "reset": "1\n",
        "dev": f"240:{device}\n",
        "uevent": f"MAJOR=240\nMINOR={device}\nDEVNAME=neuron{device}\n",
        "power/control": "auto\n",
        "info/notify_delay": "-1\n",
        "info/serial_number": "\n",
        "info/architecture/arch_type": f"{architecture.device}\n",
        "info/architecture/instance_type": f"{architecture.instance}\n",
        "info/architecture/device_name": f"{architecture.name}\n",
        "stats/power/utilization": "POWER_STATUS_NO_DATA,0,0.00,0.00,0.00\n",
        **{f"stats/hardware/{kind}": "0\n" for kind in ECC_KINDS},
    }
    if architecture.has_health:
        below = "stats/hardware/health_status"
        files[f"{below}/unhealthy_components"] = "\n"
        files |= {f"{below}/{name}": "0\n" for name in ("healthcheck_heartbeat", "hw_error_event")}
    counters = [f"stats/memory_usage/host_mem/{each}" for each in HOST_MEMORY]
    files |= {
        f"{each}/{level}": "0\n" for each in counters for level in ("total", "present", "peak")
    }
    for core in range(cores):
        files |= {f"neuron_core{core}/{path}": text for path, text in _CORE.items()}
        files[f"neuron_core{core}/info/architecture/arch_type"] = f"{architecture.core}\n"
    return files


def _core() -> dict[str, str]:
    counters = [f"stats/status/{name}" for name in STATUSES]
    counters += [f"stats/other_info/{name}" for name in OTHER_COUNTERS]
    memory = ["stats/memory_usage/host_mem", "stats/memory_usage/device_mem"]
    memory += [f"stats/memory_usage/device_mem/{name}" for name in DEVICE_MEMORY]
    return {
        **{f"{each}/{file}": "0\n" for each in counters for file in ("total", "present")},
        **{f"{each}/{file}": "0\n" for each in memory for file in ("total", "present", "peak")},
        "stats/tensor_engine/pe_cntrs": _TENSOR_ENGINE,
    }


_CORE = _core()


class TreeError(Exception):
    """The directory cannot be used."""


class Tree:
    """A directory with the files of a driver.

    A reader sees each value whole, and the directory of a device whole or not at all: both are
    prepared in `MARKER`, which also shows that the simulator wrote the tree, and then renamed.
    """

    MARKER = ".neuron-exporter-simulator"
    _DEVICE = re.compile(r"neuron\d+")

    def __init__(self, root: Path, layout: str = "old") -> None:
        """Take an empty or new directory, or empty one that a simulator wrote.

        Raises:
            TreeError: the directory has other files, those of another user, or links, or it cannot
                be written.
        """
        self._root, self._moves = root, LAYOUTS[layout]
        self._prepared = root / self.MARKER
        self._written: Mapping[int, Mapping[str, str]] = {}
        try:
            if not root.exists():
                root.mkdir(parents=True)
            found = os.listdir(root)
            if found and self.MARKER not in found:
                raise TreeError(f"{root}: must be empty or have files of the simulator only")
            devices = [*filter(self._DEVICE.fullmatch, found)]
            if found:
                for name in (self.MARKER, *devices):
                    _check_own(root / name)
            else:
                self._prepared.mkdir()
            for name in devices:
                self._remove(name)
        except OSError as error:
            reason = error.strerror or error
            raise TreeError(f"{root}: cannot be written: {reason}") from error

    def write(self, devices: Mapping[int, Mapping[str, str]]) -> None:
        """Write the files that differ from those before, by device and path.

        Raises:
            OSError: a file cannot be written.
        """
        for device in self._written.keys() - devices.keys():
            self._remove(f"neuron{device}")
        for device, files in devices.items():
            before = self._written.get(device)
            if before is None:
                self._add(f"neuron{device}", files)
                continue
            for path, text in files.items():
                if before.get(path) != text:
                    value = self._prepared / "value"
                    value.write_text(text)
                    value.replace(self._root / f"neuron{device}" / self._place(path))
        self._written = devices

    def _add(self, name: str, files: Mapping[str, str]) -> None:
        self._discard(name)
        made = set()
        for path, text in files.items():
            folder, _, file = f"{self._prepared}/{name}/{self._place(path)}".rpartition("/")
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            with open(f"{folder}/{file}", "w") as opened:
                opened.write(text)
        (self._prepared / name).rename(self._root / name)

    def _remove(self, name: str) -> None:
        self._discard(name)
        (self._root / name).rename(self._prepared / name)
        self._discard(name)

    def _discard(self, name: str) -> None:
        """Delete what is prepared, or what an earlier simulator left so."""
        if (self._prepared / name).exists():
            shutil.rmtree(self._prepared / name)

    def _place(self, path: str) -> str:
        for old, new in self._moves.items():
            if path.startswith(old):
                return new + path.removeprefix(old)
        return path


def _check_own(path: Path) -> None:
    """Check that a directory is not one, or a link to one, that another user has prepared.

    Raises:
        TreeError: it is.
    """
    found, user = path.lstat(), os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
        got = f"{stat.filemode(found.st_mode)} of user {found.st_uid}"
        raise TreeError(f"{path}: must be a directory of user {user}, not a link (got {got})")
