"""The driver's files below /sys: their paths, and the few values that the acceptance compares."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neuron_exporter.doctor.acceptance import sysfs_probe
from neuron_exporter.doctor.hanging import HUNG, run_until_silent
from neuron_exporter.facts import driver_files
from neuron_exporter.facts.driver_files import (
    CORE,
    DEVICE,
    FILE_TIMEOUT,
    REPAIRABLE,
    TOTAL_FORM,
)
from neuron_exporter.facts.report_names import ECC_EVENTS
from neuron_exporter.hardware.discovery import Layout, sort_paths

ROOT = Path(driver_files.ROOT)

MAX_HUNG = 3
"""Number of hanging files after which no more are read, unless the caller says otherwise."""

READ_NAMES = (*ECC_EVENTS, REPAIRABLE, "core_count", "utilization")
"""Names of the files that are read."""

_DEVICE = re.compile(rf"{DEVICE.pattern}/(.+)")


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
            if path.rpartition("/")[2] in ECC_EVENTS and TOTAL_FORM.fullmatch(value)
        }

    @property
    def layout(self) -> Layout:
        """The paths, sorted by what is known of them."""
        return sort_paths(self.paths)


def read_tree(
    root: Path = ROOT,
    timeout: float = FILE_TIMEOUT,
    names: Sequence[str] = READ_NAMES,
    max_hung: int = MAX_HUNG,
) -> SysfsTree:
    """List the driver's files, and read those with one of the names.

    Nothing is written. A file that hangs costs `timeout` seconds, and is left out. After `max_hung`
    of them, no more are read.
    """
    tree = SysfsTree()
    if not root.is_dir():
        return tree
    skipped = 0
    for _ in range(max_hung):
        command = [sys.executable, "-I", "-S", sysfs_probe.__file__, str(root), str(skipped)]
        output = run_until_silent([*command, *names], timeout)
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
    if CORE.fullmatch(folder):
        tree.cores.setdefault(device, set()).add(folder)
    tree.paths.add(CORE.sub("neuron_core*", path))
