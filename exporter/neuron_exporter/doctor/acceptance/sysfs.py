"""The driver's files below /sys: their paths, and the few values that the acceptance compares.

The layout of drivers up to 2.30 is that of the driver's source (aws-neuron/aws-neuron-driver
6bbfbe2, neuron_sysfs_metrics.c) and of AWS's guide. Driver 2.31 has moved files to paths that are
not published, so moved files are recognized by their names.
https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-sysfs-user-guide.html
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from neuron_exporter.doctor.acceptance import sysfs_probe
from neuron_exporter.doctor.hanging import HUNG, run_until_silent
from neuron_exporter.metrics.ecc_counters import ECC_EVENTS

ROOT = Path("/sys/devices/virtual/neuron_device")
FILE_TIMEOUT = 5.0
"""Seconds that the list of files and each file may take."""

MAX_HUNG = 3
"""Number of hanging files after which no more are read."""

REPAIRABLE = "mem_ecc_repairable_uncorrected"
READ_NAMES = (*ECC_EVENTS, REPAIRABLE, "core_count", "utilization")
"""Names of the files that are read."""

_STATUSES = (
    "success|failure|timeout|exec_bad_input|hw_error|generic_error|resource_error|invalid_error"
    "|resource_nc_error|unsupported_neff_version|oob_error|hw_collectives_error|hw_hbm_ue_error"
    "|hw_nc_ue_error|hw_dma_abort_error|hw_repairable_hbm_ue_error"
    "|(?:execute|infer)_(?:completed_with_error|completed_with_num_error|failed_to_queue"
    "|sw_nq_overflow|sw_semaphore_error|sw_event_error|sw_psum_collision|sw_sequencer_fatal)"
)
_DEVICE_MEMORY = (
    "model_code|tensors|constants|model_shared_scratchpad|runtime_memory|driver_memory|collectives"
    "|nonshared_scratchpad|notifications|dma_rings|uncategorized"
)
_HOST_MEMORY = (
    "dma_buffers|tensors|constants|application_memory|driver_memory|notifications|dma_rings"
    "|uncategorized"
)
_OTHER = (
    "model_load_count|reset_req_count|reset_fail_count|inference_count|flop_count|nc_time_in_use"
)
_ECC = "|".join((*ECC_EVENTS, REPAIRABLE))
_COUNTER, _LEVEL = "(?:total|present)", "(?:total|present|peak)"

KNOWN_PATHS = re.compile(
    "|".join(
        (
            "core_count|connected_devices|reset",
            "info/(?:serial_number|notify_delay)",
            "info/architecture/(?:arch_type|device_name|instance_type)",
            rf"stats/hardware/(?:{_ECC}|unhealthy_components|healthcheck_heartbeat)",
            r"stats/hardware/health_status/\w+",
            rf"stats/memory_usage/host_mem/(?:(?:{_HOST_MEMORY})/)?{_LEVEL}",
            "stats/power/(?:utilization|utilization_raw)",
            r"neuron_core\*/info/architecture/arch_type",
            rf"neuron_core\*/stats/status/(?:{_STATUSES})/{_COUNTER}",
            rf"neuron_core\*/stats/memory_usage/device_mem/(?:(?:{_DEVICE_MEMORY})/)?{_LEVEL}",
            rf"neuron_core\*/stats/memory_usage/host_mem/{_LEVEL}",
            rf"neuron_core\*/stats/other_info/(?:{_OTHER})/{_COUNTER}",
            r"neuron_core\*/stats/tensor_engine/pe_cntrs",
        )
    )
)
"""Paths below a device up to driver 2.30, with `neuron_core*` for each core."""

_KERNEL_PATHS = re.compile(r"uevent|dev|power/[a-z_]+")
"""Files that Linux adds to every device."""

KNOWN_NAMES = re.compile(
    rf"core_count|connected_devices|serial_number|arch_type|device_name|{_ECC}"
    rf"|utilization|utilization_raw|pe_cntrs|{_STATUSES}|{_OTHER}"
)
"""Names of counters and values that are recognized at any path. A counter's files are named after
it or are in a folder with its name."""

_DEVICE = re.compile(r"neuron(\d{1,3})/(.+)")
_CORE = re.compile(r"neuron_core\d+")
_COUNTS = re.compile(_LEVEL)


@dataclass(slots=True)
class SysfsTree:
    """Files of the driver.

    Attributes:
        files: Number of files.
        devices: Indices of the devices.
        cores: Number of folders of cores, by device.
        paths: Paths below a device, with `neuron_core*` for each core.
        values: Values that were read, by device and path.
        unreadable: Files that could not be read, with the reason.
    """

    files: int = 0
    devices: set[int] = field(default_factory=set)
    cores: dict[int, set[str]] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    values: dict[tuple[int, str], str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def ecc(self) -> dict[tuple[int, str], int]:
        """ECC totals by device and name, wherever their files are."""
        return {
            (device, path.rpartition("/")[2]): int(value)
            for (device, path), value in self.values.items()
            if path.rpartition("/")[2] in ECC_EVENTS and value.isascii() and value.isdigit()
        }

    @property
    def layout(self) -> Layout:
        """The paths, sorted by what is known of them."""
        layout = Layout([], [], [])
        for path in sorted(self.paths):
            if _KERNEL_PATHS.fullmatch(path):
                continue
            parent, _, name = path.rpartition("/")
            counter = parent.rpartition("/")[2] if _COUNTS.fullmatch(name) else name
            if KNOWN_PATHS.fullmatch(path):
                layout.known.append(path)
            elif KNOWN_NAMES.fullmatch(counter):
                layout.moved.append(path)
            else:
                layout.unknown.append(path)
        return layout


class Layout(NamedTuple):
    """Paths up to driver 2.30, other paths with a known name, and all remaining paths."""

    known: list[str]
    moved: list[str]
    unknown: list[str]


def read_tree(root: Path = ROOT, timeout: float = FILE_TIMEOUT) -> SysfsTree:
    """List the driver's files, and read those with a name in `READ_NAMES`.

    Nothing is written. A file that hangs costs `timeout` seconds, and is left out.
    """
    tree = SysfsTree()
    if not root.is_dir():
        return tree
    skipped = 0
    for _ in range(MAX_HUNG):
        command = [sys.executable, "-I", "-S", sysfs_probe.__file__, str(root), str(skipped)]
        output = run_until_silent([*command, *READ_NAMES], timeout)
        read = _add_lines(tree, output.out.decode("utf-8", "replace").splitlines())
        if output.status != HUNG:
            break
        if not read:
            tree.unreadable[str(root)] = "its files were not listed in time"
            break
        skipped += read
    return tree


def _add_lines(tree: SysfsTree, lines: Iterable[str]) -> int:
    """Add the output of the probe, and return the number of files that it began to read."""
    read, hanging, files = 0, "", 0
    for line in lines:
        kind, _, rest = line.partition(" ")
        path, _, value = rest.partition(" ")
        match = _DEVICE.fullmatch(path)
        if match is None:
            continue
        device, below = int(match[1]), match[2]
        if kind == "f":
            files += 1
            _add_file(tree, device, below)
        elif kind == "r":
            read, hanging = read + 1, path
        elif kind == "v":
            tree.values[device, below], hanging = value, ""
        elif kind == "e":
            number = int(value) if value.isdigit() else 0
            reason = errno.errorcode.get(number, os.strerror(number))
            tree.unreadable[path], hanging = reason, ""
    tree.files = max(tree.files, files)
    if hanging:
        tree.unreadable[hanging] = "no answer in time"
    return read


def _add_file(tree: SysfsTree, device: int, path: str) -> None:
    tree.devices.add(device)
    folder = path.split("/")[0]
    if _CORE.fullmatch(folder):
        tree.cores.setdefault(device, set()).add(folder)
    tree.paths.add(_CORE.sub("neuron_core*", path))
